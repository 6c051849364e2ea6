"""The parts put together: up in order, down in reverse."""
