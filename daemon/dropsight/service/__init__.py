"""The daemon's rooms: what waits, what is in hand, what is on record, and where a finished image goes."""
