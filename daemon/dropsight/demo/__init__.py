"""A first look: sample photos and a broker of its own, nothing to set up."""
