"""Bit-exact models of gateware blocks. They import layouts, never gateware components."""
