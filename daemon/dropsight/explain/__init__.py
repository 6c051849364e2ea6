"""Explanations of predictions: maps of the parts of the image that a model looked at."""
