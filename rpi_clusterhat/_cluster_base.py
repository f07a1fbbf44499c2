"""What `Cluster` and `AsyncCluster` share: all that does not depend on how one waits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from . import validate
from ._names import parse_nodes
from .clock import SYSTEM
from .errors import BootTimeoutError, NodeNameError, SettingError
from .hardware.backend import SupportsSimulation
from .power.bank import open_banks
from .power.inventory import Inventory
from .settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .clock import Clock
    from .events import Event, State
    from .hardware.boards import Board
    from .nodes.access import NodeAccess, NodeDirectory
    from .nodes.console.listener import ConsoleListener
    from .nodes.halt.halter import Halter
    from .nodes.probes import Probe
    from .power.bank import Bank
    from .power.inventory import NodeEntry
    from .settings import Settings
    from .settings.sources import Layer
    from .waiting import Steps

    Wait: TypeAlias = "Probe | Callable[[str], Probe]"
    """What says whether a node is ready: a probe, or for several nodes a function that makes the probe for
    the node of a name."""

__all__ = ["BOOT_TIMEOUT", "CYCLE_PAUSE", "HUB_PAUSE", "ClusterBase", "Handle", "NodeHandle"]

BOOT_TIMEOUT = 120.0
"""Seconds for which ``on`` waits at most until a node is ready: chosen, not measured."""

_PROBE_INTERVAL = 0.1
"""Seconds between the starts of two rounds of probes."""

CYCLE_PAUSE = 1.0
"""Seconds without power in ``cycle``, so that a node's capacitors run empty: chosen, not measured."""

HUB_PAUSE = 0.5
"""Seconds that ``hub.reset`` keeps the hub off: chosen, not measured."""


C = TypeVar("C")


class ClusterBase:
    """The nodes of one or several Cluster HATs."""

    def __init__(self, banks: Sequence[Bank], clock: Clock = SYSTEM, node: Sequence[Layer] = ()) -> None:
        """Takes over open boards; `open` is the usual way."""
        self._inventory = Inventory(banks, clock)
        self._nodes: NodeDirectory | None = None
        if node:
            from .nodes.access import NodeDirectory

            self._nodes = NodeDirectory(node, banks)

    @classmethod
    def of(cls, cluster: ClusterBase) -> Self:
        """The same open boards, for threads or for asyncio. Either may be closed: then both are."""
        new = cls.__new__(cls)
        new._inventory = cluster._inventory  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this class
        new._nodes = cluster._nodes  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return new

    @classmethod
    def _open(cls, given: Mapping[str, object], config: str | None, clock: Clock) -> Self:
        if not (hasattr(clock, "now") and hasattr(clock, "sleep")):
            raise validate.invalid("clock", clock, "a clock, such as FakeClock()")
        return cls.of_settings(load_settings(given, config=config), clock)

    @classmethod
    def of_settings(cls, settings: Settings, clock: Clock = SYSTEM) -> Self:
        """Opens the boards that settings describe."""
        banks = open_banks(settings, clock)
        try:
            return cls(banks, clock, settings.node)
        except SettingError:
            for bank in banks:
                bank.close()
            raise

    def __repr__(self) -> str:
        entries = self._inventory.entries
        nodes = " ".join(f"{entry.name}={entry.state!s}" for entry in list(entries.values())[:16])
        more = " …" if len(entries) > 16 else ""
        return f"<{type(self).__name__} {', '.join(b.version for b in self.boards[:4])}: {nodes}{more}>"

    def __len__(self) -> int:
        return len(self._inventory.names)

    def __contains__(self, node: object) -> bool:
        """Whether this cluster has the node, or one of this name."""
        if isinstance(node, NodeHandle):
            return node._inventory is self._inventory  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return isinstance(node, str) and node in self._inventory.entries

    @property
    def names(self) -> list[str]:
        """The nodes' names, ``p1`` and on."""
        return list(self._inventory.names)

    @property
    def boards(self) -> list[Board]:
        """What the boards are: versions, lines, functions."""
        return [bank.board for bank in self._inventory.banks]

    @property
    def banks(self) -> list[Bank]:
        """The open boards with their backends and rails: for tests and for those who extend the library."""
        return list(self._inventory.banks)

    @property
    def holds_levels(self) -> bool:
        """Whether nodes that are on stay on when this cluster is closed or its process ends."""
        return all(bank.backend.holds_levels for bank in self._inventory.banks)

    @property
    def clock(self) -> Clock:
        """The clock that its waits go by."""
        return self._inventory.clock

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Host and TCP port of nodes, by name, as far as their backend knows.

        The simulation does, if it was told to ``serve``.
        """
        found: dict[str, tuple[str, int]] = {}
        for bank in self._inventory.banks:
            if isinstance(bank.backend, SupportsSimulation):
                known = bank.backend.addresses()
                for name, role in zip(bank.names, bank.board.power, strict=False):
                    if role.offset in known:
                        found[name] = known[role.offset]
        return found

    @property
    def spacing(self) -> float:
        """Seconds between two power-ups of one rail."""
        return self._inventory.banks[0].rail.spacing

    def select(self, *nodes: NodeLike) -> list[str]:
        """Returns the names that lists such as ``p1,p3`` or ``p[1-3]`` stand for, each once, in their order.

        Args:
            nodes: Names, nodes of this cluster, or lists of them; ``"all"`` for all nodes.

        Raises:
            NodeNameError: One of them is no node of this cluster, or nothing is named.
        """
        return parse_nodes([text for given in nodes for text in self._texts(given)], self._inventory.names)

    def _texts(self, given: object) -> list[str]:
        if isinstance(given, str):
            return [given]
        if isinstance(given, NodeHandle):
            if given not in self:
                raise NodeNameError(f"{given!r} is a node of another cluster")
            return [given.name]
        if isinstance(given, Iterable) and not isinstance(given, bytes | bytearray):
            several: Iterable[object] = given  # pyright: ignore[reportUnknownVariableType] - of whatever
            return [text for one in several for text in self._texts(one)]
        raise NodeNameError(f"{given!r} is no node: give a name such as 'p1', a node, or a list of them")

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Has each `rpi_clusterhat.events.Event` told to a function, after the fact and with no lock held.

        It is called in the thread (or the event loop) of an operation or read: of that which found it, or of
        another that is under way. What it raises is logged and disturbs nothing.

        Returns:
            A function that ends the subscription.
        """
        return self._inventory.subscribe(validate.function("callback", callback))

    def guard_halts(self, guard: Callable[[str], str | None]) -> Callable[[], None]:
        """Has a function asked before each halt of a node, which may refuse it.

        It is called with the node's name, in a worker thread of an event loop and in the caller's thread
        otherwise. It returns None where the node may be halted, else why not: `off` then raises
        `HaltRefusedError`.

        Returns:
            A function that ends this.
        """
        asked = validate.function("guard", guard)

        def steps(name: str) -> Steps[str | None]:
            from .waiting import Call

            why: str | None = yield Call(partial(asked, name))
            return why

        self._directory.guards.append(steps)
        return partial(self._directory.guards.remove, steps)

    def ways_to_halt(self, node: str) -> tuple[str, ...]:
        """Returns the ways to halt a node that are set, in the order in which they are tried.

        Args:
            node: Its name.

        Raises:
            NodeNameError: The cluster has no such node.
        """
        name = self._check_name(node)
        return () if self._nodes is None else self._nodes[name].settings["halt"]

    @property
    def _directory(self) -> NodeDirectory:
        if self._nodes is None:
            from .nodes.access import NodeDirectory

            self._nodes = NodeDirectory((), self._inventory.banks)
        return self._nodes

    def _halters(self, names: Sequence[str]) -> Mapping[str, Halter]:
        return {} if self._nodes is None else self._nodes.halters(names)

    def _having_ways(self, names: Sequence[str]) -> list[str]:
        """Those nodes that there is a way to halt, whether or not its settings are right."""
        return [name for name in names if self.ways_to_halt(name)]

    def _off(self, names: Sequence[str], *, now: bool, cut: bool) -> Steps[None]:
        """Cuts the power of nodes, after they were halted where there is a way to."""
        validate.flag("now", now)
        validate.flag("cut", cut)
        halters: Mapping[str, Halter] = {} if now else self._halters(names)
        if not halters:
            from .power import plans
            from .power.operation import Operation

            return Operation(self._inventory).steps(plans.switch_off(names, self._having_ways(names)))
        from ._switching import switch_off

        return switch_off(self._inventory, halters, names, cut=cut)

    def _cycle(self, names: Sequence[str], pause: float, *, now: bool) -> Steps[None]:
        validate.seconds("pause", pause)
        validate.flag("now", now)
        halters: Mapping[str, Halter] = {} if now else self._halters(names)
        if halters:
            from ._switching import cycle

            return cycle(self._inventory, halters, names, pause)
        from .power import plans
        from .power.operation import Operation

        return Operation(self._inventory).steps(plans.cycle(names, pause, self._having_ways(names)))

    def _switch_on(self, names: Sequence[str]) -> Steps[None]:
        from .power import plans
        from .power.operation import Operation

        operation = Operation(self._inventory)
        halters = self._halters(names)
        if not halters:
            return operation.steps(plans.switch_on(names))
        from ._switching import halt_left_half_way

        halt = halt_left_half_way(operation, self._inventory, halters)
        return operation.steps(plans.switch_on(names, halt))

    def _check_name(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self._inventory.entries:
            raise NodeNameError(
                f"{name!r} is no node of this cluster: it has {', '.join(self._inventory.names)}"
            )
        return name

    @staticmethod
    def _check_wait(wait: Wait | None, names: Sequence[str], boot_timeout: float) -> dict[str, Probe]:
        """The probe of each node. Raises `SettingError` before anything is switched."""
        validate.seconds("boot_timeout", boot_timeout, above=True)
        if wait is None:
            return {}
        from .nodes.probes import Probe

        if isinstance(wait, Probe) and len(names) > 1:
            raise SettingError(
                f"wait: {wait!r}: one probe cannot tell {len(names)} nodes apart: give a function that makes "
                "the probe for a node's name"
            )
        probes: dict[str, Any] = {}
        for name in names:
            probe: Any = wait if isinstance(wait, Probe) else wait(name) if callable(wait) else None
            if not isinstance(probe, Probe):
                raise validate.invalid("wait", wait, "a probe, or a function from a name to a probe")
            probes[name] = probe
        return probes

    def _until_ready(self, probes: Mapping[str, Probe], boot_timeout: float) -> Steps[None]:
        """Asks the nodes' probes, round after round, and takes over what they say."""
        from .waiting import Call, Sleep

        clock = self.clock
        end = clock.now() + boot_timeout
        late: dict[str, str] = {}
        left = dict(probes)
        while True:
            began = clock.now()
            for name, probe in probes.items():
                if name in left and not (late.get(name) and clock.now() >= end):
                    power_ups = self._inventory.entries[name].power_ups
                    verdict = yield from probe.steps(lambda: end - clock.now())
                    late[name] = verdict.reason
                    if verdict.up:
                        report = partial(self._inventory.report_probe, name, up=True, power_ups=power_ups)
                        if (yield Call(report, uninterruptible=True)):
                            del left[name]
                        else:
                            late[name] = "it was started anew meanwhile"
                        self._inventory.deliver()
            again = max(clock.now(), began + _PROBE_INTERVAL)
            if not left or again >= end:
                break
            yield Sleep(again - clock.now())
        for name in left:
            yield Call(partial(self._inventory.report_probe, name, up=False), uninterruptible=True)
        self._inventory.deliver()
        if left:
            reasons = "; ".join(f"{name}: {late[name]}" for name in left)
            raise BootTimeoutError(f"not ready within {boot_timeout:g} s: {reasons}")


class Handle(Generic[C]):
    """Something of a cluster that has a name. As cheap as its name: make as many as you like."""

    __slots__ = ("_cluster", "_inventory", "name")

    def __init__(self, cluster: C, inventory: Inventory, name: str) -> None:
        self._cluster = cluster
        self._inventory = inventory
        self.name = name
        """Its name."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.name == other.name and self._inventory is other._inventory

    def __hash__(self) -> int:
        return hash((type(self), self.name, id(self._inventory)))


class NodeHandle(Handle[C]):
    """What is known of a node without a look at it."""

    __slots__ = ()

    @property
    def _access(self) -> NodeAccess:
        cluster: Any = self._cluster
        directory: NodeDirectory = cluster._directory  # noqa: SLF001
        return directory[self.name]

    def console_listener(self) -> ConsoleListener | None:
        """Makes what a pool reads its console with while it boots; None where no console is set."""
        cluster: Any = self._cluster
        if cluster._nodes is None:  # noqa: SLF001 - nothing is set: nothing is to be loaded in the middle of a boot
            return None
        return self._access.console_listener()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._entry.state!s}>"

    @property
    def _entry(self) -> NodeEntry:
        return self._inventory.entries[self.name]

    @property
    def desired(self) -> bool | None:
        """Whether it was last asked to be on; None where this cluster was not asked."""
        return self._entry.desired

    @property
    def driven(self) -> bool | None:
        """Whether its line was an output at the last look; None before the first one.

        The level of an input may change at any time: `on` and `off` drive it.
        """
        return self._entry.driven

    @property
    def last_state(self) -> State:
        """Its state as of the last look, without another look."""
        return self._entry.state

    @property
    def power_ups(self) -> int:
        """How often this cluster has seen it get power, its own power-ups among them."""
        return self._entry.power_ups

    def call_off_halt(self) -> bool:
        """Has it stay on where it is being halted and was not asked yet: `off` raises `SupersededError` then.

        May be called from any thread.

        Returns:
            Whether it stays on. If not, it has no power soon, and `on` waits for that.
        """
        return self._inventory.call_off_halt(self.name)

    @property
    def failure(self) -> str | None:
        """Why it is in the state ``failed``; None in every other state."""
        return self._entry.failure


if TYPE_CHECKING:
    NodeLike: TypeAlias = "str | NodeHandle[Any] | Iterable[str | NodeHandle[Any]]"
    """A node's name, a list such as ``p1,p3`` or ``p[1-3]``, ``"all"``, a node, or several of these."""
