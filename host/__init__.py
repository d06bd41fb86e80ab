"""Driver, transports, command line."""
