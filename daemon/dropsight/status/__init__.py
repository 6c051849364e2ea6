"""How things are: counts, latencies, troubles, threads at work, and the word to whoever asks."""
