"""Safe file access in folders that others can write to: no link followed, names durable, locks kept."""
