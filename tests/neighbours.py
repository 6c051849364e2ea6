"""Programs that others leave next to no processor."""

BESIDE_NEIGHBOURS = """
import os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ours = os.getpid()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        while os.getppid() == ours:
            pass
        os._exit(0)
os.nice(10)

def work(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
"""
"""The beginning of a program: the first argument is the number of neighbours; two leave it a twentieth."""
