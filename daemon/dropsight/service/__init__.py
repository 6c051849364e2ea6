"""The process: the parts put together, up in order, down in reverse."""
