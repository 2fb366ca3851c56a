"""One process that does everything: a sidecar stays small.

Owns: nothing but the way from a crew's calls to the only worker.
"""

import trio

from wsproxy.gateway.generation import Generation
from wsproxy.service.listeners import Change, Listeners
from wsproxy.service.orders import Answer, Order
from wsproxy.service.worker import Worker
from wsproxy.settings.tree import Shutdown
from wsproxy.telemetry.snapshot import Snapshot


class Alone:
    """The crew of one (see `lifecycle.Crew`)."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._worker: Worker | None = None

    async def run(
        self, generation: Generation, change: Change, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._worker = Worker(generation)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._worker.run)
            await self.adopt(generation, change)
            task_status.started()

    async def adopt(self, generation: Generation, change: Change) -> None:
        assert self._worker is not None
        self._listeners.commit(change)
        self._worker.adopt(generation, change.serves, change.opened)

    @property
    def serving(self) -> bool:
        return self._worker is not None

    async def ask(self, order: Order) -> list[Answer]:
        assert self._worker is not None
        return [await self._worker.obey(order)]

    async def snapshot(self) -> Snapshot:
        assert self._worker is not None
        return await self._worker.snapshot()

    async def drain(self, shutdown: Shutdown) -> None:
        assert self._worker is not None
        await self._worker.drain(shutdown)

    async def stop(self) -> None:
        return
