"""Models, the virtual node and testbench helpers."""
