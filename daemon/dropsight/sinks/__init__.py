"""Who else hears of a record once it is durable."""
