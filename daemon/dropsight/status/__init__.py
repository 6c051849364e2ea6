"""The daemon's status: counters, latencies, troubles, heartbeats of threads, and the control socket."""
