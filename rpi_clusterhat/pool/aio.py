"""A pool for asyncio: leases on the nodes of a cluster, each switched on and off as it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from rpi_clusterhat import validate
from rpi_clusterhat.aio import AsyncCluster
from rpi_clusterhat.nodes.boots import BootHistory
from rpi_clusterhat.nodes.probes import Probe

from .activity import Traffic
from .boot_log import BootLog
from .leases import Lease
from .runner import Runner
from .scheduler import Scheduler
from .settings import PoolSettings
from .traffic_watch import TrafficWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from random import Random
    from types import TracebackType

    from rpi_clusterhat.events import PoolEvent

    from .pooled_node import PooledNode

__all__ = ["AsyncNodePool"]


class AsyncNodePool:
    """The nodes of a cluster, each switched on when somebody needs it and off when nobody has for a while.

        async with AsyncNodePool(hat, probe=lambda name: TcpProbe(f"{name}.local", 80)) as pool:
            async with pool.lease() as lease:
                ...

    Belongs to one event loop. Nodes that have power are taken over when it opens, and are left as they are
    when it closes. What others do with the cluster, or another program with the board, moves its nodes, too.
    """

    def __init__(
        self,
        cluster: AsyncCluster,
        *,
        probe: Callable[[str], Probe],
        settings: PoolSettings | None = None,
        traffic: Traffic | None = None,
        history: BootHistory | None = None,
        random: Random | None = None,
    ) -> None:
        """Makes a pool that is not open yet.

        Args:
            cluster: The nodes. It stays open when the pool is closed.
            probe: Makes the probe that says whether the node of a name is ready.
            settings: How the pool behaves.
            traffic: What moves on the nodes' networks counts as activity, too.
            history: Where to keep how long each boot took and how it ended, over restarts. The boots in it
                say how long the first ones of this pool are expected to take.
            random: For ``balance``.

        Raises:
            SettingError: An argument is not what it should be: ``probe`` makes no probes, say.
        """
        validate.instance("cluster", cluster, AsyncCluster, "an open AsyncCluster")
        settings = PoolSettings() if settings is None else settings
        validate.instance("settings", settings, PoolSettings, "PoolSettings")
        _check_helpers(traffic, history, random)
        self.cluster = cluster
        self.settings = settings
        self.now: Callable[[], float] = cluster.clock.now
        """The time in seconds, by the clock of the cluster."""
        probes = {name: _make_probe(probe, name) for name in cluster.names}
        self._scheduler = Scheduler(cluster.names, settings, self.now, random=random)
        watch = None if traffic is None else TrafficWatch(traffic, self._scheduler, cluster.clock)
        self._runner = Runner(cluster, self._scheduler, probes, watch)
        self._log = None if history is None else BootLog(history, self._scheduler, self.now)

    def __repr__(self) -> str:
        nodes = " ".join(f"{node.name}={node.state!s}" for node in list(self.nodes.values())[:16])
        return f"<{type(self).__name__} {nodes}{' …' if len(self.nodes) > 16 else ''}>"

    @property
    def nodes(self) -> Mapping[str, PooledNode]:
        """What is known of each node, by name. To be read."""
        return self._scheduler.nodes

    @property
    def waiting(self) -> int:
        """How many leases wait for a node."""
        return self._scheduler.waiting

    @property
    def boot_time(self) -> float:
        """How many seconds a boot is expected to take, from asking for it.

        This is the slowest of the last eight boots, those in the history included, or ``boot_estimate``
        before the first one.
        """
        return self._scheduler.boot_time

    def estimate(self) -> float:
        """Estimates when the next node is ready.

        Returns:
            Seconds: until the first of the nodes that are starting is ready, or a whole `boot_time`.
        """
        return self._scheduler.estimate()

    def due_at(self, node: str) -> float:
        """When a node will be switched off if nothing happens until then.

        Args:
            node: Its name.

        Returns:
            Seconds as of `now`; ``inf`` while it is in use or not ready, and where ``idle_timeout`` is
            ``inf``.

        Raises:
            NodeNameError: The pool has no such node.
        """
        return self._scheduler.due_at(node)

    def subscribe(self, callback: Callable[[PoolEvent], object]) -> Callable[[], None]:
        """Has a function called with each `rpi_clusterhat.events.PoolEvent`, in the event loop.

        What it raises is logged and disturbs nothing.

        Returns:
            A function that ends the subscription.
        """
        return self._scheduler.subscribe(validate.function("callback", callback))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Finds which nodes have power, and begins to watch them. Once only.

        Raises:
            LockError: Nodes could not be switched on: see `AsyncCluster.check_rails`.
            BackendError: The hardware failed.
        """
        if self._log is not None:
            await self._log.begin()
        await self._runner.begin()

    def lease(
        self,
        node: str | None = None,
        *,
        key: str | None = None,
        passive: bool = False,
        exclude: set[str] | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """Makes a lease on a node of the pool's choice, or on the one named.

        Args:
            node: The name of the node; without one, the pool chooses.
            key: Whose request it is, for ``balance="hash"``.
            passive: Takes only a node that is ready, and is no activity.
            exclude: Names of nodes that are not to be chosen.
            timeout: Seconds to wait at most, instead of ``queue_timeout``.

        Returns:
            The lease, which nobody has asked for yet: enter it with ``async with``, or see `Lease.ask`.

        Raises:
            NodeNameError: The pool has no such node.
            SettingError: ``timeout`` is no number of seconds.
        """
        if node is not None:
            self._scheduler.check_name(node)
        if timeout is not None:
            validate.seconds("timeout", timeout)
        if exclude is not None:
            _check_exclude(exclude, self.nodes)
        if key is not None:
            validate.instance("key", key, str, "text")
        validate.flag("passive", passive)
        return Lease(self._runner, node, key, passive, exclude, timeout)

    def wake(self, node: str) -> bool:
        """Switches a node on by hand.

        Args:
            node: Its name.

        Returns:
            False where it is on, starting, or failed lately, and where the pool is closed. A node that is
            quarantined is let out, as by `reinstate`.

        Raises:
            NodeNameError: The pool has no such node.
        """
        begun = self._scheduler.wake(node)
        self._runner.act()
        return begun

    def reinstate(self, node: str) -> bool:
        """Lets a node out of quarantine by hand, so that it may be leased, and boots as if it had not failed.

        One that has power, because somebody else switched it on, is checked first.

        Args:
            node: Its name.

        Returns:
            False where it is not quarantined, and where the pool is closed.

        Raises:
            NodeNameError: The pool has no such node.
        """
        was_quarantined = self._scheduler.reinstate(node)
        self._runner.act()
        return was_quarantined

    def power_off(self, node: str) -> bool:
        """Switches a node off by hand.

        Args:
            node: Its name.

        Returns:
            False where it is in use, off, or on its way there, and where it is starting or has failed.

        Raises:
            NodeNameError: The pool has no such node.
        """
        begun = self._scheduler.power_off(node)
        self._runner.act()
        return begun

    def refuse_waiting(self) -> None:
        """Gives no more leases, and ends those that wait, with `PoolClosedError`.

        Leases that are in use stay.
        """
        self._scheduler.refuse_waiting()

    async def drain(self, seconds: float) -> bool:
        """Gives no more leases, and waits until all are released. Those that wait are still served.

        Args:
            seconds: How long to wait at most.

        Returns:
            Whether all were released in time.

        Raises:
            SettingError: ``seconds`` is no number of seconds.
        """
        end = self.now() + validate.seconds("seconds", seconds)
        self._scheduler.closed = True
        while any(node.leases for node in self.nodes.values()) or self.waiting:
            if self.now() >= end:
                return False
            await self.cluster.clock.asleep(min(0.05, max(0.001, end - self.now())))
        return True

    async def close(self, *, off: bool = False) -> None:
        """Ends boots under way, idle times and waits. It may be called again.

        Args:
            off: Whether to switch all nodes off, too.

        Raises:
            NodeFailedError: A node could not be switched off.
            BackendError: The hardware failed.
        """
        self._scheduler.refuse_waiting()
        await self._runner.end()
        if self._log is not None:
            await self._log.end()
        if off:
            await self.cluster.off(*self.nodes)
            for name in self.nodes:
                self._scheduler.powered_off(name, "close")


def _check_helpers(traffic: Any, history: Any, random: Any) -> None:
    if traffic is not None:
        validate.instance("traffic", traffic, Traffic, "Traffic")
    if history is not None:
        validate.instance("history", history, BootHistory, "a BootHistory")
    if random is not None and not hasattr(random, "choice"):
        raise validate.invalid("random", random, "a random.Random")


def _check_exclude(exclude: Any, known: Collection[str]) -> None:
    if isinstance(exclude, set | frozenset):
        names = cast("Collection[object]", exclude)
        if all(name in known for name in names):
            return
    raise validate.invalid(
        "exclude", cast("object", exclude), f"a set of names of nodes, of {', '.join(known)}"
    )


def _make_probe(make: Any, name: str) -> Probe:
    probe: Any = make(name) if callable(make) else None
    if not isinstance(probe, Probe):
        raise validate.invalid("probe", make, "a function from a node's name to a probe")
    return probe
