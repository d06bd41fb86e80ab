"""Tag streams, tag files, correlations."""
