"""The journal (SQLite), the JSON log, filing away: durable, logged, filed, in this order, on one thread."""
