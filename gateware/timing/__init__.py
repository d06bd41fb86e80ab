"""Ticks, triggers, the disciplined virtual clock."""
