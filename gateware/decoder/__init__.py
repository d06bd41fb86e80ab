"""Streaming syndrome decoder on a list of defects."""
