"""What each command does, behind cli.py's thin functions."""
