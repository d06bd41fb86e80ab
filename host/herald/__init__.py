"""Channel plans of the herald unit: read, check, compile to its tables; its records to columns."""
