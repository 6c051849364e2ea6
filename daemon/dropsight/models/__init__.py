"""Pixels to scores: what a model is, and one file per backend."""
