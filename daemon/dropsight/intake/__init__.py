"""Where images come from, until one is complete, new and ours."""
