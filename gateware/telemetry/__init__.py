"""Health of the gateware: sticky errors."""
