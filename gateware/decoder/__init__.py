"""Streaming syndrome decoder: growth, matching, and the list of defects they work on."""
