"""The demo's processes: started together, read line by line, and never left behind.

Owns: starting a program of this package with this Python, and ending it. Knows nothing of what its lines mean.
Invariants
* However the surrounding nursery ends, each child is told to terminate, and killed if it does not in
  `GRACE_SECONDS`.
* A child never gets the terminal's own Ctrl-C: it is ended in order by the demo, or not at all.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import trio

from wsproxy.errors import CannotStart

START_SECONDS = 15.0
"""Bound on a child's first line: a cold start of Python on a busy machine takes seconds."""
GRACE_SECONDS = 5.0

T = TypeVar("T")

_KEPT_LINES = 5
_READ_BYTES = 65_536


class Child:
    """One process and the lines of one of its output streams.

    :ivar last_lines: the latest ones, for telling why it ended.
    """

    def __init__(self, name: str, process: trio.Process, stream: trio.abc.ReceiveStream) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = process
        self._stream = stream
        self._unread: deque[str] = deque()
        self._rest = b""

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, name: str, arguments: list[str], read: Literal["stdout", "stderr"] = "stdout"
    ) -> "Child":
        """Start ``python -m`` with the arguments.

        :param nursery: holds the process: it is ended with the nursery.
        :param read: the stream whose lines are read; the other one goes where the demo's own goes.
        """
        # Settings of the user's own proxy are none of the demo's.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("WSPROXY_")}
        start = partial(
            trio.run_process,
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if read == "stdout" else None,
            stderr=subprocess.PIPE if read == "stderr" else None,
            check=False,
            env=environ,
            process_group=0,
            deliver_cancel=_end,
        )
        process: trio.Process = await nursery.start(start)
        stream = process.stdout if read == "stdout" else process.stderr
        assert stream is not None
        return cls(name, process, stream)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end; does nothing if it has."""
        self._process.terminate()

    async def wait(self) -> int:
        """Wait for its end; gives the exit code."""
        return await self._process.wait()

    async def first(self, find: Callable[[str], T | None]) -> T:
        """The first line in which something is found.

        :raises CannotStart: the child ended before, or `START_SECONDS` went by.
        """
        with trio.move_on_after(START_SECONDS):
            while (line := await self._line()) is not None:
                found = find(line)
                if found is not None:
                    return found
            raise CannotStart(f"{self.name} ended at once: {self.account()}")
        raise CannotStart(f"{self.name} did not start within {START_SECONDS:g} seconds: {self.account()}")

    async def follow(self, take: Callable[[str], None]) -> None:
        """Give every further line to ``take``, until the stream ends."""
        while (line := await self._line()) is not None:
            take(line)

    def account(self) -> str:
        """Its last lines, in one."""
        return " | ".join(self.last_lines) or "it said nothing"

    async def _line(self) -> str | None:
        while not self._unread:
            chunk = await self._stream.receive_some(_READ_BYTES)
            if not chunk:
                return None
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._unread.extend(line.decode(errors="replace") for line in lines)
        line = self._unread.popleft()
        self.last_lines.append(line)
        return line


async def _end(process: trio.Process) -> None:
    process.terminate()
    await trio.sleep(GRACE_SECONDS)
    process.kill()
