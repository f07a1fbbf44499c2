"""Which node gets the next request.

The names are those of the field's proxies. What they do not know is a node that is asleep: choosing one costs
its request a whole boot, and the cluster its power from then on. ``random``, ``roundrobin`` and ``hash`` do
not look at that and spread requests over all nodes, so they keep nearly all of them awake; ``first`` and
``leastconn`` wake a node only when those that are awake or on their way have no room left.

Nothing here reads a clock, waits or switches. A balancer is for one thread at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rpi_clusterhat import validate

from .states import PoolState, is_starting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

__all__ = [
    "BALANCERS",
    "Balancer",
    "Candidate",
    "ConsistentHash",
    "First",
    "LeastConn",
    "RandomDraw",
    "RoundRobin",
    "balancer",
]

_TRIES = 16
"""So many nodes are looked at before all are. With half of them full, one choice in 65,536 needs more."""


class Candidate(Protocol):
    """What is known of a node that may be chosen."""

    @property
    def name(self) -> str:
        """The node's name, which no other has and which stays the same."""
        ...

    @property
    def state(self) -> PoolState:
        """What the pool does with it."""
        ...

    @property
    def in_flight(self) -> int:
        """How many requests have this node and are not over, those that wait for its boot included."""
        ...

    @property
    def last_used(self) -> float:
        """When it was last used, in seconds of the clock; minus infinity for never."""
        ...


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol[C]):
    """A rule by which a node is chosen. It may be used by one thread at a time."""

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses the node for the next request.

        Args:
            candidates: All nodes in the order of their numbers. Some may be added or removed between two
                calls. A tuple that stays the same object is quickest.
            usable: Returns whether a node may be chosen now: it has room, for example, and was not tried
                already. It is called for as few nodes as the rule allows, and must return the same during a
                call.
            key: Whose request it is; only ``hash`` looks at it.

        Returns:
            The node, or None if none is usable.
        """
        ...


class RandomDraw:
    """``random``: each usable node is as likely as any other, awake or not."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses a node; see `Balancer.choose`."""
        del key
        if not candidates:
            return None
        # A draw that is repeated until it fits is as uniform as one among the usable.
        for _ in range(_TRIES):
            node = self._random.choice(candidates)
            if usable(node):
                return node
        left = [node for node in candidates if usable(node)]
        return self._random.choice(left) if left else None


class RoundRobin:
    """``roundrobin``: each usable node in turn, awake or not."""

    def __init__(self) -> None:
        self._next = 0
        self._last: str | None = None

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses a node; see `Balancer.choose`."""
        del key
        count = len(candidates)
        start = self._start(candidates)
        for i in range(start, start + count):
            node = candidates[i % count]
            if usable(node):
                self._next = i % count + 1
                self._last = node.name
                return node
        return None

    def _start(self, candidates: Sequence[C]) -> int:
        """Behind the last one chosen, wherever that is now; at its old place where it is gone."""
        if self._last is None:
            return 0
        at = self._next - 1
        if at < len(candidates) and candidates[at].name == self._last:
            return self._next
        return next((i + 1 for i, node in enumerate(candidates) if node.name == self._last), at)


def _distance(node: Candidate) -> int:
    """How far a node is from serving: 0 awake, 1 starting, 2 asleep, going off or failed.

    One that somebody waits for is starting, even where its boot has not been asked for yet: else each request
    of a burst would wake another.
    """
    if node.state is PoolState.READY:
        return 0
    return 1 if node.in_flight or is_starting(node.state) else 2


class LeastConn:
    """``leastconn``: the node with the fewest requests in flight; of equals, the one used longest ago.

    Nodes that are awake come first, then those that are starting, then the others. The rule is there to make
    requests wait less, and a node that is asleep has nothing in flight just because it cannot serve: taken by
    the number alone, it would be woken while others are a millisecond from being free. A proxy's rule of this
    name passes over servers that are down in the same way. So the limit of requests per node decides when the
    next one is woken, and the load is spread over those that are awake.
    """

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses a node; see `Balancer.choose`."""
        del key
        return min(
            (node for node in candidates if usable(node)),
            key=lambda node: (_distance(node), node.in_flight, node.last_used),
            default=None,
        )


class First:
    """``first``: the first node, by number, that is awake; else the first that is starting; else the first.

    Nodes fill up one after the other, so that the last ones have nothing to do and can go off: the least
    power and the fewest cold requests. The limit of requests per node decides when the next one is woken.
    """

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses a node; see `Balancer.choose`."""
        del key
        best: C | None = None
        nearest = 3
        for node in candidates:
            distance = _distance(node)
            if distance < nearest and usable(node):
                best, nearest = node, distance
                if distance == 0:
                    break
        return best


_POINTS = 160
_PER_DIGEST = 8
_OWNER = (1 << 24) - 1
"""The bits of a point that say whose it is; the 40 above say where on the ring it lies."""


class ConsistentHash:
    """``hash``: requests with the same key get the same node, awake or not; without a key, a node at random.

    Each node has 160 points on a ring, and a key belongs to the next usable node on it (consistent hashing:
    D. Karger et al., STOC 1997). So a node that is added, removed or not usable moves its own keys and no
    others. The points come from BLAKE2b of the node's name: the same in each process, on each machine and
    with each version of Python. With many keys, the share of a node is about 8 % more or less than the mean
    (standard deviation). The ring takes 8 bytes per point, and is built anew when the nodes' names change.
    """

    def __init__(self, random: Random) -> None:
        self._keyless = RandomDraw(random)
        self._nodes: tuple[Candidate, ...] = ()
        self._names: list[str] = []
        self._ring = array("Q")

    def choose(
        self, candidates: Sequence[C], usable: Callable[[C], bool], key: str | None = None
    ) -> C | None:
        """Chooses a node; see `Balancer.choose`."""
        if key is None:
            return self._keyless.choose(candidates, usable)
        if candidates is not self._nodes:
            self._look_at(candidates)
        ring = self._ring
        count = len(ring)
        start = bisect_left(ring, _hash(key))
        for i in range(start, start + min(_TRIES, count)):
            node = candidates[ring[i % count] & _OWNER]
            if usable(node):
                return node
        left = {i for i, node in enumerate(candidates) if usable(node)}
        if not left:
            return None
        owners = (ring[i % count] & _OWNER for i in range(start, start + count))
        return candidates[next(owner for owner in owners if owner in left)]

    def _look_at(self, candidates: Sequence[Candidate]) -> None:
        nodes = tuple(candidates)  # a tuple stays itself, and is known again without looking at it
        if nodes != self._nodes:
            names = [node.name for node in nodes]
            if names != self._names:
                self._ring = _ring(names)
                self._names = names
        self._nodes = nodes


def _hash(key: str) -> int:
    from hashlib import blake2b

    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") & ~_OWNER


def _ring(names: Sequence[str]) -> array[int]:
    """All points in the order in which they lie on the ring."""
    import struct
    from hashlib import blake2b

    # In slices of the ring: sorting makes an object of each number, four times the size of the array's.
    slices: list[array[int]] = [array("Q") for _ in range(256)]
    unpack = struct.Struct(f"<{_PER_DIGEST}Q").unpack
    salts = [i.to_bytes(2, "little") for i in range(_POINTS // _PER_DIGEST)]
    for owner, name in enumerate(names):
        encoded = name.encode("utf-8", "surrogatepass")
        for salt in salts:
            points: tuple[int, ...] = unpack(blake2b(encoded, salt=salt).digest())
            for point in points:
                slices[point >> 56].append(point & ~_OWNER | owner)
    ring = array("Q")
    for part in slices:
        ring.extend(sorted(part))
    return ring


_KINDS: Mapping[str, Callable[[Random], Balancer[Any]]] = {
    "random": RandomDraw,
    "roundrobin": lambda _: RoundRobin(),
    "leastconn": lambda _: LeastConn(),
    "first": lambda _: First(),
    "hash": ConsistentHash,
}

BALANCERS = tuple(_KINDS)
"""The names that `balancer` knows; the first is the default of whoever asks for one."""


def balancer(name: str, random: Random | None = None) -> Balancer[Any]:
    """Makes a balancer.

    Args:
        name: One of `BALANCERS`.
        random: What ``random`` and ``hash`` draw from, for tests that draw the same each time.

    Raises:
        SettingError: There is no such balancer.
    """
    if name not in BALANCERS:
        raise validate.invalid("balance", name, f"one of {', '.join(BALANCERS)}")
    if random is None:
        from random import Random

        random = Random()  # noqa: S311  # spreads load, keeps no secret; the system's source is slower
    return _KINDS[name](random)
