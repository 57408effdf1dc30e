"""Measurements: how fast and how well, each written down with where it came from."""
