"""Which node has been idle for long enough, and what the idle time costs.

Pure: the caller says what time it is. May be used from any thread.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeVar

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Cost", "Idler", "Occupied", "break_even", "cost"]


_MOST = 1e12


class Occupied(Protocol):
    """What is known of a node that has power. Times are seconds of one clock."""

    @property
    def name(self) -> str: ...

    @property
    def in_flight(self) -> int:
        """Requests and tunnels that are not over, those that wait for the node's boot included."""
        ...

    @property
    def last_active(self) -> float:
        """When a request last began or ended or a byte last went either way; minus infinity where never."""
        ...

    @property
    def on_since(self) -> float: ...


N = TypeVar("N", bound=Occupied)


class Idler(Frozen):
    """When a node goes off: nothing is in flight, its last activity was ``idle_timeout`` seconds ago or more,
    and it has been on for ``min_on_time`` seconds or more.

    An ``idle_timeout`` of ``math.inf`` is never. Raises `SettingError` for what is no number of seconds.
    """

    idle_timeout: float
    min_on_time: float

    def __init__(self, idle_timeout: float = 600.0, min_on_time: float = 60.0) -> None:
        super().__init__(
            _checked("idle_timeout", idle_timeout, "seconds", endless=True),
            _checked("min_on_time", min_on_time, "seconds"),
        )

    def due_at(self, node: Occupied) -> float:
        """When the node goes off if nothing happens until then, which may be in the past: the time to look
        again. Infinity while something is in flight."""
        if node.in_flight or self.idle_timeout == math.inf:
            return math.inf
        return max(node.last_active + self.idle_timeout, node.on_since + self.min_on_time)

    def is_due(self, node: Occupied, now: float) -> bool:
        """Whether the node is to go off. Ask while nothing can give it a new request."""
        return self.due_at(node) <= now

    def due(self, nodes: Iterable[N], now: float) -> list[N]:
        """Those of the nodes that are to go off, in the order given."""
        return [node for node in nodes if self.is_due(node, now)]


def break_even(boot_energy: float, idle_power: float) -> float:
    """Seconds of idleness after which going off and booting again takes less energy than staying on.

    ``boot_energy`` in joules is what the halt and the boot take together, ``idle_power`` in watts what the
    node takes while it waits. As an idle time-out, it never takes more than twice the energy of one who knows
    when the next request comes, and no other fixed time promises less: the problem is known as ski rental
    (A. Karlin, M. Manasse, L. Rudolph, D. Sleator, "Competitive snoopy caching", Algorithmica 3, 1988; for
    power: S. Irani, S. Shukla, R. Gupta, "Online strategies for dynamic power management in systems with
    multiple power-saving states", ACM TECS 2(3), 2003). It counts energy only: that people wait for a boot is
    the reason to stay on for longer. Raises `SettingError`.
    """
    energy = _checked("boot_energy", boot_energy, "joules")
    power = _checked("idle_power", idle_power, "watts")
    if power == 0:
        raise SettingError("idle_power: must be more than 0 watts: what takes no power need not go off")
    return energy / power


class Cost(Frozen):
    """What an idle time-out comes to, in the long run, for one node."""

    mean_power: float
    """Watts."""
    cold: float
    """The share of requests that wait for a boot, 0 to 1."""
    on: float
    """The share of time with power, 0 to 1."""


def cost(
    rate: float, idle_timeout: float, idle_power: float, boot_energy: float, boot_time: float = 0.0
) -> Cost:
    """What ``idle_timeout`` seconds T come to for a node that gets ``rate`` requests per second r at random
    times (a Poisson process), takes ``idle_power`` watts P, and boots in ``boot_time`` seconds b with
    ``boot_energy`` joules E.

    What serving takes is left out: it is the same for any T. Each time the node goes off, the story begins
    anew, so means over one round are means over all time (renewal reward theorem). In a round, the node is
    off for 1/r until the next request comes, boots for b, in which r b more requests come and wait, and is
    awake until no request comes for T: after e^(rT) - 1 requests and (e^(rT) - 1)/r seconds in the mean. With
    D = e^(rT) + r b, the requests of a round::

        cold       = (1 + r b) / D
        on         = 1 - 1 / D
        mean power = (r E + P (e^(rT) - 1)) / D

    For a whole cluster of n nodes: with ``random``, each of them gets r/n; with ``first``, one node gets all
    while it has room. T may be infinite. Raises `SettingError`.
    """
    rate = _checked("rate", rate, "requests per second")
    timeout = _checked("idle_timeout", idle_timeout, "seconds", endless=True)
    power = _checked("idle_power", idle_power, "watts")
    energy = _checked("boot_energy", boot_energy, "joules")
    came = rate * _checked("boot_time", boot_time, "seconds")
    # All by e^(rT), which may be too large for a float. A node that no request reaches is never on.
    exponent = rate * timeout if rate else 0.0
    off = math.exp(-exponent)
    awake = -math.expm1(-exponent)
    whole = 1.0 + came * off
    return Cost(
        (rate * energy * off + power * awake) / whole,
        (1.0 + came) * off / whole,
        (awake + came * off) / whole,
    )


def _checked(name: str, value: object, unit: str, *, endless: bool = False) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 <= value <= _MOST or (endless and value == math.inf))
    ):
        raise SettingError(
            f"{name}: {value!r}: must be {unit}, a number from 0 to {_MOST:g}{' or inf' if endless else ''}"
        )
    return float(value)
