"""Boards: pins, front ends, bitstream builds."""
