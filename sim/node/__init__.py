"""The virtual node: real gateware, Verilated, fed by models, behind a board's byte link."""
