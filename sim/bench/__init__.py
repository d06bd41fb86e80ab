"""Testbench helpers: cocotb on Verilator, formal contracts, streams."""
