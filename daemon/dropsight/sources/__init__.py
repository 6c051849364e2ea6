"""Further ways in which images come, beside the folders that they are dropped into."""
