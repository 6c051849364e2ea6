"""Folders and files as strangers may have left them: no link followed, names durable, locks kept."""
