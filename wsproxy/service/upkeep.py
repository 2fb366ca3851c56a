"""What keeps pools up to date: names looked up again, endpoints probed.

Owns: the tasks that do so for one generation, and their timing. The pools change in calls to them. Must never carry a
client's bytes.
Invariant: a look-up or a probe that fails ends nothing but itself.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from wsproxy.gateway.endpoints import Instance, KnownEndpoint
from wsproxy.gateway.generation import Generation, Group
from wsproxy.gateway.pools import Pool
from wsproxy.network.resolve import resolve
from wsproxy.service.connecting import log_state
from wsproxy.service.probes import probe

_LOGGER = logging.getLogger("wsproxy")

WentDown = Callable[[Instance], None]


async def look_after(generation: Generation, went_down: WentDown) -> None:
    """Look after the generation's pools until cancelled.

    ``went_down`` is told of an instance that probes took down, if its upstream wants its tunnels closed then.
    """
    async with trio.open_nursery() as nursery:
        for group in generation.groups.values():
            settings = group.pool.settings
            if settings.resolve_seconds:
                for known in group.pool.known:
                    if known.has_name:
                        nursery.start_soon(_look_up, group.pool, known)
            if settings.health.mode not in ("off", "passive"):
                nursery.start_soon(_Prober(group, went_down).run, nursery)
        await trio.sleep_forever()


async def _look_up(pool: Pool, known: KnownEndpoint) -> None:
    """Look one name up again and again; what a failed look-up does not tell stays as it was."""
    endpoint = known.endpoint
    failing = False
    while True:
        try:
            addresses = await resolve(endpoint.host, endpoint.port)
        except (OSError, UnicodeError) as error:
            if not failing:
                fields = {"upstream": pool.name, "endpoint": endpoint.url, "reason": str(error)}
                _LOGGER.warning("name not found", extra={"fields": fields})
            failing = True
        else:
            failing = False
            pool.resolved(known, addresses)
        await trio.sleep(pool.settings.resolve_seconds)


@dataclass(slots=True)
class _Prober:
    """The probes of one upstream.

    :ivar under_way: instances whose last probe is not over; they get no second one meanwhile.
    """

    group: Group
    went_down: WentDown
    under_way: set[Instance] = field(default_factory=set)

    async def run(self, nursery: trio.Nursery) -> None:
        """Every instance once in each interval, spread over it; all at once in the beginning, to know soon."""
        pool = self.group.pool
        interval = pool.settings.health.interval_seconds
        spread = 0.0
        while True:
            started = trio.current_time()
            instances = list(pool.instances())
            for number, instance in enumerate(instances):
                await trio.sleep_until(started + spread * number / len(instances))
                if instance not in self.under_way:
                    self.under_way.add(instance)
                    nursery.start_soon(self._probe, instance)
            await trio.sleep_until(started + interval)
            spread = interval

    async def _probe(self, instance: Instance) -> None:
        try:
            problem = await probe(self.group, instance)
        finally:
            self.under_way.discard(instance)
        if not self.group.pool.probed(instance, not problem):
            return
        log_state(self.group.pool, instance, "down" if problem else "up", problem)
        if problem and self.group.pool.settings.health.close_tunnels:
            self.went_down(instance)
