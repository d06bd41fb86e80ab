"""Ways for bytes to reach a node."""
