"""A program that does not want to end: it says so, and ignores TERM."""

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("still here", flush=True)
while True:
    signal.pause()
