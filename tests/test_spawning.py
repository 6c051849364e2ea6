"""Processes begun by a thread that has descriptors of its own: each by its own order, whatever fails."""

import subprocess
import sys

_SAYS = """
import os, resource, subprocess, sys
from dropsight.spawning import PIPE, begin_apart, popen

def said(text):
    with popen([sys.executable, "-c", f"print({text!r})"], stdout=PIPE) as process:
        return process.stdout.read().decode().strip()

def refused(**streams):
    try:
        popen([sys.executable, "-c", "print('somebody else')"], **streams).wait()
    except OSError:
        return
    sys.exit("begun without its stream")

told, waker = os.pipe2(os.O_NONBLOCK)
begin_apart(waker)
"""


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", _SAYS + code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_an_order_that_could_not_go_to_its_thread_is_no_other_s() -> None:
    """Where too many descriptors were on their way, each picture was decoded by the order before it."""
    code = """
for _ in range(3):
    refused(stdin=os.sysconf("SC_OPEN_MAX") - 1, stdout=PIPE)
print(said("first"), said("second"))
"""
    assert _run(code) == "first second\n"


def test_descriptors_for_which_the_thread_has_no_place_are_a_want_of_the_machine_s() -> None:
    code = """
streams = dict(zip(("stdin", "stdout", "stderr"), (*os.pipe(), os.dup(1))))
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (4, before[1]))
refused(**streams)
resource.setrlimit(resource.RLIMIT_NOFILE, before)
print(said("first"), said("second"))
"""
    assert _run(code) == "first second\n"


def test_what_lies_unused_and_owns_a_descriptor_is_not_collected_by_the_thread() -> None:
    """It would close that number among its own, and leave the file open."""
    code = """
import gc
from dropsight import spawning

class Held:
    def __init__(self):
        self.itself, self.file = self, os.fdopen(os.open(os.devnull, os.O_RDONLY))

def begun_after_much(*arguments, begin=spawning.Popen, **more):
    litter = [[] for _ in range(100_000)]
    return begin(*arguments, **more)

spawning.Popen = begun_after_much
gc.collect()
number = Held().file.fileno()
print(said("first"))
gc.collect()
try:
    os.fstat(number)
except OSError:
    print("closed")
"""
    assert _run(code) == "first\nclosed\n"


def test_where_no_thread_may_have_descriptors_of_its_own_that_is_told_and_processes_begin() -> None:
    """As where a sandbox refuses unshare: what the kernel does not know stands for that here."""
    code = """
import logging
from dropsight import spawning

logging.basicConfig(stream=sys.stdout, format="%(message)s")
spawning._apart, spawning._CLONE_FILES = None, 1
begin_apart(waker)
logging.shutdown()
print(said("first"))
"""
    told, first = _run(code).splitlines()
    assert told.startswith("no thread that begins processes")
    assert first == "first"


def test_a_signal_that_comes_to_the_thread_as_it_begins_a_process_wakes_the_daemon_and_harms_nothing() -> (
    None
):
    """As one may after SIGSTOP and SIGCONT. It was written into what says whether the process begins."""
    code = """
import select, signal, threading

def amid_signals(pipe=os.pipe):
    ends = pipe()
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
    return ends

signal.signal(signal.SIGHUP, lambda *_: None)
signal.set_wakeup_fd(waker)
given, os.pipe = os.open(os.devnull, os.O_RDONLY), amid_signals
for streams in ({}, {"stdin": given}, {"stdin": given, "stdout": given}):
    popen([sys.executable, "-c", ""], **streams).wait()
    select.select([told], [], [], 60)
    print(signal.Signals(os.read(told, 1)[0]).name)
"""
    assert _run(code) == 3 * "SIGHUP\n"
