"""From a clip to the frames that are looked at, decoded in a process of its own."""
