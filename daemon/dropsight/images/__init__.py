"""Bytes to pixels: open safely, read the header, decode small, turn upright, frame."""
