"""Host link: bytes, frames, requests, streams."""
