"""Durable, logged, filed, in that order, on one thread."""
