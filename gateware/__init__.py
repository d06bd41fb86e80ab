"""Logic of a node, in Amaranth. Vendor-neutral: pins come in as ports, boards own them."""
