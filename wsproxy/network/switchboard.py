"""The switchboard: one loop a worker carries the bytes of all its tunnels.

Owns every established tunnel's two transports while it lasts. A session's task hands a tunnel over with `carry` and
sleeps until it is over; reading, relaying and sending need no task and no scheduler pass of their own (`idle`). Opens
no nursery: the worker runs `serve` and `sweep`.

Nearly every turn is the same: a steady tunnel's side is readable, what it says is relayed and taken whole by the
kernel, and nothing else changes. `_turn` knows that case and then asks no further; everything else goes through
`_move` and `_settle`.

Invariants:
* backpressure is not reading: a side is read only when all that came of the other direction has been sent;
* a tunnel gets one read a turn, and everyone ready gets a turn before anyone gets two;
* whatever a tunnel does, only that tunnel ends by it;
* a side that takes nothing of what waits for it is lost after `Transport.write_stall_seconds`;
* `carry` returns with both transports closed.
"""

import os
from collections import deque
from collections.abc import Callable
from math import ceil

import trio

from wsproxy.errors import ConnectionLost
from wsproxy.network.ends import End, Tunnel, is_judged, is_over
from wsproxy.network.idle import take_turns, trios_descriptor
from wsproxy.network.poller import BROKEN, LEFT, READ, WRITE, make_poller
from wsproxy.network.quiet import Quiet
from wsproxy.protocol.keepalive import Lapse

READ_BYTES = 65536
SWEEP_SECONDS = 1.0
SENT_TOGETHER = 16
"""Steady turns whose output is sent together: one send after the other finds a reader awake that the first one woke."""
SWEPT_A_TURN = 50
"""Tunnels that are swept at a time, a fifth of a millisecond: of 5,000 at once, messages would wait for 20. A busy
worker, which is late, looks at more, so that a sweep takes its second however many there are."""


class Switchboard:
    """The tunnels of one worker and the loop that serves them."""

    def __init__(self) -> None:
        self._poller = make_poller()
        self._ends: dict[int, End] = {}
        self._tunnels: set[Tunnel] = set()
        self._unfinished: deque[End] = deque()
        self._unsent: list[End] = []
        self._trios: int | None = None
        # Written to when another task leaves work for the loop, which waits for the poller alone.
        self._nudged, self._nudge = os.pipe()
        os.set_blocking(self._nudged, False)
        os.set_blocking(self._nudge, False)
        self._poller.register(self._nudged, READ)

    def close(self) -> None:
        """Give back the board's own descriptors, once `serve` and every `carry` have ended."""
        self._poller.close()
        os.close(self._nudged)
        os.close(self._nudge)

    async def carry(self, tunnel: Tunnel, received: tuple[bytes, bytes]) -> None:
        """Serve ``tunnel`` until it is over; both transports are closed when this returns or is cancelled.

        :param received: bytes of each side that arrived behind its opening handshake.
        :raises Exception: what the relay raised, a fault of ours: the session's boundary tells it.
        """
        self._tunnels.add(tunnel)
        try:
            self._ends.update((end.fd, end) for end in tunnel.ends)
            now = trio.current_time()
            for end, data in zip(tunnel.ends, received, strict=True):
                if data:
                    tunnel.relay.receive(end.side, data, now)
            self._settle(tunnel, now)
            self._wake_loop()
            await tunnel.over.wait()
        finally:
            self._tunnels.discard(tunnel)
            for end in tunnel.ends:
                self._hang_up(end)
                del end.tunnel  # else codecs and buffers would be kept until the collector looks
        if tunnel.failure is not None:
            raise tunnel.failure

    def drain(self, tunnel: Tunnel, code: int) -> None:
        """Begin to close ``tunnel`` with ``code`` at a message boundary; it goes on until both sides have answered."""
        if tunnel in self._tunnels:
            now = trio.current_time()
            try:
                tunnel.relay.drain(code, now)
                self._settle(tunnel, now)
            except Exception as failure:  # noqa: BLE001 — kept for the session's boundary, here and below
                self._fail(tunnel, failure)
            self._wake_loop()

    def cut(self, tunnel: Tunnel, code: int) -> None:
        """End ``tunnel`` now: a drain's close frames go out as far as the kernel takes them, and nothing is awaited."""
        if tunnel in self._tunnels:
            self.drain(tunnel, code)
            self._expire(tunnel, trio.current_time())

    def _wake_loop(self) -> None:
        if self._unfinished:
            try:
                os.write(self._nudge, b"!")
            except BlockingIOError:
                return  # full of earlier nudges, which will do

    # --- the loop

    async def serve(self) -> None:
        """Serve every tunnel on the board, for ever."""
        self._trios = descriptor = trios_descriptor()
        if descriptor is not None:
            await take_turns(self._poller, descriptor, self._serve_ready)
        while True:
            if self._unfinished:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._poller.fileno())
            self._serve_ready(0)

    def _serve_ready(self, seconds: float) -> bool:
        """Wait at most that long, then give everyone who is ready a turn; True if somebody else's descriptor is."""
        events = self._poller.poll(0 if self._unfinished else seconds)
        now = trio.current_time()
        ends = self._ends
        others = False
        for fd, ready in events:
            end = ends.get(fd)
            if end is not None:
                self._turn(end, ready, now)
            elif fd == self._nudged:
                os.read(fd, 4096)
            elif fd == self._trios:
                # Nothing else is: of an end that this round has hung up, an event may still be in the list.
                others = True
        for _ in range(len(self._unfinished)):
            end = self._unfinished.popleft()
            end.queued = False
            if end.open:
                self._turn(end, READ, now)
        self._send_together(now)
        return others

    def _turn(self, end: End, ready: int, now: float) -> None:
        tunnel = end.tunnel
        tunnel.moved = now
        relay = tunnel.relay
        # Both sides are read and nothing else is wanted of them, so all that was taken for them has been sent.
        steady = relay.steady and ready == READ == end.wants == end.other.wants
        try:
            if steady:
                self._read(end, now)
                if relay.steady and not end.transport.buffered:
                    # What a steady tunnel says of one side's bytes, it says to the other side.
                    self._unsent.append(end.other)
                    if len(self._unsent) == SENT_TOGETHER:
                        self._send_together(now)
                    return
            else:
                self._move(end, ready, now)
            self._settle(tunnel, now)
        except Exception as failure:  # noqa: BLE001
            self._fail(tunnel, failure)

    def _send_together(self, now: float) -> None:
        """Send what steady turns left to be sent."""
        for end in self._unsent:
            tunnel = end.tunnel
            try:
                if not self._send(end, now):
                    self._settle(tunnel, now)
            except Exception as failure:  # noqa: BLE001
                self._fail(tunnel, failure)
        self._unsent.clear()

    def _fail(self, tunnel: Tunnel, failure: Exception) -> None:
        """A fault of ours: it ends this tunnel, and the board goes on."""
        tunnel.failure = failure
        self._end(tunnel)

    def _end(self, tunnel: Tunnel) -> None:
        for end in tunnel.ends:
            self._hang_up(end)
        tunnel.over.set()

    def _read(self, end: End, now: float) -> None:
        """One read of one side."""
        try:
            data = end.transport.read_now(READ_BYTES)
            if data:
                end.tunnel.relay.receive(end.side, data, now)
            elif data is not None:
                end.tunnel.relay.ended(end.side, now)
            elif end.broken:
                raise ConnectionLost("hung up")
        except ConnectionLost:
            self._lose(end, now)

    def _move(self, end: End, ready: int, now: float) -> None:
        """One read of one side, or the sending of what it could not take before."""
        relay = end.tunnel.relay
        other = end.other
        if ready & LEFT:
            end.left = True
        if ready & BROKEN and not ready & (READ | WRITE):
            # Nothing was wanted of it, so it says this alone; there may be more to read all the same.
            end.broken, end.watched = True, False
            self._poller.unregister(end.fd)
            return
        if ready & WRITE:
            try:
                end.transport.flush_now()
            except ConnectionLost:
                self._lose(end, now)
                return
            if not end.transport.pending and relay.backlog(other.side):
                relay.resume(other.side, now)
        if relay.backlog(end.side):
            if not other.transport.pending:
                relay.resume(end.side, now)
        elif ready & READ and relay.wants_input(end.side, not other.transport.pending):
            self._read(end, now)

    def _settle(self, tunnel: Tunnel, now: float) -> None:
        """Send what the relay has for each side, then ask the poller for what each side can do next."""
        client, upstream = tunnel.ends
        self._send(client, now)
        if not self._send(upstream, now):
            # If it is lost, the relay now has more to say to the client.
            self._send(client, now)
        for end in tunnel.ends:
            if end.open:
                self._adjust(end, now)
        if not (client.open or upstream.open):
            tunnel.over.set()

    def _send(self, end: End, now: float) -> bool:
        """Send what the relay has for one side; True if the kernel took all of it."""
        data = end.tunnel.relay.take(end.side)
        if not data or not end.open:
            return True
        try:
            return end.transport.write_now(data)
        except ConnectionLost:
            self._lose(end, now)
            return False

    def _adjust(self, end: End, now: float) -> None:
        relay = end.tunnel.relay
        transport = end.transport
        pending = transport.pending
        if not pending and relay.over(end.side):
            self._hang_up(end)
            return
        if not (pending or end.half_closed) and relay.half_close_due(end.side):
            end.half_closed = True
            try:
                transport.shutdown_write()
            except ConnectionLost:
                self._lose(end, now)
                return
        drained = not end.other.transport.pending
        if not end.broken:
            self._watch(end, pending, drained)
        # Input that waits inside, or of which no socket event will tell any more.
        untold = transport.buffered or end.broken
        waiting = relay.backlog(end.side) or (untold and relay.wants_input(end.side, True))
        if waiting and drained and not end.queued:
            end.queued = True
            self._unfinished.append(end)

    def _watch(self, end: End, pending: int, drained: bool) -> None:
        wants = WRITE if pending else 0
        if end.tunnel.relay.wants_input(end.side, drained):
            wants |= READ
        elif not end.left:
            wants |= LEFT
        if not end.watched:
            end.watched = True
            self._poller.register(end.fd, wants)
        elif wants != end.wants:
            self._poller.modify(end.fd, wants)
        end.wants = wants

    def _lose(self, end: End, now: float, lapse: Lapse | None = None) -> None:
        self._hang_up(end)
        end.tunnel.relay.lost(end.side, now, lapse)

    def _hang_up(self, end: End) -> None:
        if end.open:
            end.open = False
            self._ends.pop(end.fd, None)
            if end.watched:
                self._poller.forget(end.fd)
            end.transport.close()

    # --- time

    async def sweep(self, trim: Callable[[], None]) -> None:
        """End the tunnels whose deadline has passed, lose the sides that take nothing, let quiet ones rest, for ever.

        :param trim: gives freed memory back to the system; called when there is some.
        """
        quiet = Quiet(trim)
        while True:
            tunnels = list(self._tunnels)
            turns = max(1, ceil(len(tunnels) / SWEPT_A_TURN))
            began, swept = trio.current_time(), 0
            for turn in range(1, turns + 1):
                due = began + SWEEP_SECONDS * turn / turns
                if turn < turns and due <= trio.current_time():
                    continue  # late, as on a busy worker: with the next ones, or a sweep would take a pass for each
                await trio.sleep_until(due)
                self._sweep(tunnels[swept : turn * SWEPT_A_TURN], quiet)
                swept = turn * SWEPT_A_TURN
            quiet.trim()

    def _sweep(self, tunnels: list[Tunnel], quiet: Quiet) -> None:
        now = trio.current_time()
        for tunnel in tunnels:
            if tunnel in self._tunnels:
                try:
                    self._sweep_one(tunnel, quiet, now)
                except Exception as failure:  # noqa: BLE001
                    self._fail(tunnel, failure)

    def _sweep_one(self, tunnel: Tunnel, quiet: Quiet, now: float) -> None:
        if is_over(tunnel, now):
            self._expire(tunnel, now)
        elif tunnel.relay.look_at <= now:
            self._look(tunnel, now)
        for end in tunnel.ends:
            if end.wants & WRITE and end.open:
                self._lose_if_stuck(end, now)
        quiet.look(tunnel, now)

    def _look(self, tunnel: Tunnel, now: float) -> None:
        client, upstream = tunnel.ends
        side = tunnel.relay.look((is_judged(client, upstream), is_judged(upstream, client)), now)
        if side is not None:
            self._lose(tunnel.ends[side], now, Lapse.PING)
        if side is not None or tunnel.relay.has_output:
            self._settle(tunnel, now)
            self._wake_loop()

    def _lose_if_stuck(self, end: End, now: float) -> None:
        try:
            if end.transport.takes_some(now):
                if not end.transport.pending:
                    # It had room, though not enough for the poller to tell.
                    self._turn(end, WRITE, now)
                    self._wake_loop()
                return
            lapse = Lapse.WRITE_STALL
        except ConnectionLost:
            lapse = None
        self._lose(end, now, lapse)
        self._settle(end.tunnel, now)

    def _expire(self, tunnel: Tunnel, now: float) -> None:
        try:
            tunnel.relay.expire()
            self._settle(tunnel, now)
        except Exception as failure:  # noqa: BLE001
            self._fail(tunnel, failure)
        self._end(tunnel)
