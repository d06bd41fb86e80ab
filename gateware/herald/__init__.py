"""Time tagging: sample words in, records and histograms out."""
