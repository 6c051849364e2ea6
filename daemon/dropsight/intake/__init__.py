"""From the watched folders to images that are complete, new and ours to process."""
