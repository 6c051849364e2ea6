"""Why a model said what it said: maps of what it looked at."""
