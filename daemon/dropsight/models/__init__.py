"""Pixels to scores: what a model is, and one file a backend."""
