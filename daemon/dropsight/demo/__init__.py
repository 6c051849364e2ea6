"""A first look: sample photos and its own broker, nothing to set up."""
