"""One async class per gateware block."""
