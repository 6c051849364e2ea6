"""The process: assembles the parts, starts them in order, stops them in reverse."""
