"""When an instance counts as up: what probes and clients' handshakes say.

Owns: the changes of an instance's health. Probing is for `service/`. Pure; must never import trio or sockets.
Invariants
* Probes decide whether an instance may be used at all; failures of clients' handshakes only put it behind the others
  for a while. So what clients meet never turns every client away, and a pool of one endpoint works without probes.
* One change is told once: whoever reports gets True only for the report that changed something.
"""

from wsproxy.gateway.endpoints import Instance
from wsproxy.settings.tree import Health

_LONGEST = 10
"""An ejection is at most this many times ``eject_seconds``."""


def is_usable(instance: Instance, health: Health) -> bool:
    """Probes do not speak against it. What they said before a reload that ended probing does not count any more."""
    return instance.passing or health.mode in ("off", "passive")


def is_ejected(instance: Instance, health: Health, now: float) -> bool:
    """Failures put it behind the others."""
    return now < instance.ejected_until and health.mode != "off"


def succeeded(instance: Instance) -> bool:
    """A client's handshake was answered there. True if it had been ejected, and this is its return."""
    returned = instance.ejections > 0
    instance.failures = 0
    instance.ejections = 0
    return returned


def failed(instance: Instance, health: Health, now: float) -> bool:
    """A client's handshake failed there. True if that ejects it, for the first time since its last success."""
    if health.mode == "off" or is_ejected(instance, health, now):
        return False
    instance.failures += 1
    if instance.failures < health.fall:
        return False
    instance.ejections = min(instance.ejections + 1, _LONGEST)
    instance.ejected_until = now + health.eject_seconds * instance.ejections
    instance.came_up = instance.ejected_until
    # Back again it is on trial: one more failure is enough.
    instance.failures = health.fall - 1
    return instance.ejections == 1


def probed(instance: Instance, good: bool, health: Health, now: float) -> bool:
    """A probe ended. True if that brings the instance up or takes it down.

    The first probe decides alone: before it, an instance counts as up.
    """
    first = not instance.probed
    instance.probed = True
    if good == instance.passing:
        instance.streak = 0
        return False
    instance.streak += 1
    if not first and instance.streak < (health.rise if good else health.fall):
        return False
    instance.passing = good
    instance.streak = 0
    if good:
        instance.came_up = now
        instance.failures = 0
        instance.ejections = 0
    return True
