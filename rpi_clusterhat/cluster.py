"""`Cluster` and `Node`: what a script uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ._frozen import Frozen
from .clock import SYSTEM
from .errors import NodeNameError
from .hardware.backend import SupportsAddresses
from .power.bank import open_banks
from .power.executor import Again, Executor, Operation, is_over
from .settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from .clock import Clock
    from .events import Event
    from .hardware.boards import Board
    from .power import plans
    from .power.bank import Bank
    from .power.inventory import NodeEntry
    from .power.states import State

__all__ = ["BoardStatus", "Cluster", "Function", "Hub", "Node", "NodeStatus", "Status"]

CYCLE_PAUSE = 1.0
"""Seconds without power in ``cycle``, so that a node's capacitors run empty: chosen, not measured."""

HUB_PAUSE = 0.5
"""Seconds that ``hub.reset`` keeps the hub off: chosen, not measured."""


class NodeStatus(Frozen):
    powered: bool
    """As read from the line."""
    state: State
    failure: str | None


class BoardStatus(Frozen):
    version: str
    backend: str
    nodes: tuple[str, ...]
    functions: Mapping[str, bool]
    """``alert``, ``led``, ``hub``, ``wp`` as far as the board has them: on or off."""
    set_up: bool
    """False for an expander that nobody has set up since it got power."""


class Status(Frozen):
    """What was read at one moment."""

    boards: tuple[BoardStatus, ...]
    nodes: Mapping[str, NodeStatus]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``status --json``. With one board its functions stand at the top; with several each
        board's stand under ``boards``."""
        nodes: dict[str, dict[str, Any]] = {}
        for name, node in self.nodes.items():
            nodes[name] = {"powered": node.powered, "state": str(node.state)}
            if node.failure is not None:
                nodes[name]["failure"] = node.failure
        if len(self.boards) == 1:
            return {**self._board(self.boards[0], nodes), **self._functions(self.boards[0])}
        boards = [{**self._board(b, list(b.nodes)), **self._functions(b)} for b in self.boards]
        return {"boards": boards, "nodes": nodes}

    @staticmethod
    def _board(board: BoardStatus, nodes: object) -> dict[str, Any]:
        return {"board": board.version, "backend": board.backend, "nodes": nodes}

    @staticmethod
    def _functions(board: BoardStatus) -> dict[str, Any]:
        return {**board.functions, **({} if board.set_up else {"set_up": False})}


def _drive(executor: Executor, make_plan: Callable[[], plans.Plan]) -> None:
    """Runs a plan with blocking calls. What goes wrong is thrown into the plan, Ctrl-C included."""
    operation = Operation()
    answer: Any = None
    error: BaseException | None = None
    try:
        plan = make_plan()
        while True:
            try:
                while True:  # in the try itself: no line between two steps is outside of it
                    step = plan.send(answer) if error is None else plan.throw(error)
                    answer = error = None
                    answer = _perform(executor, operation, step)
            except StopIteration:
                return
            except BaseException as caught:
                if is_over(plan):
                    raise
                error = caught
    finally:
        executor.finish(operation)
        executor.deliver()


def _perform(executor: Executor, operation: Operation, step: plans.Step) -> Any:
    from .power.plans import Sleep

    if isinstance(step, Sleep):
        executor.deliver()
        return executor.clock.sleep(step.seconds)
    while isinstance(answer := executor.perform(operation, step), Again):
        executor.deliver()
        executor.clock.sleep(answer.seconds)
    executor.deliver()
    return answer


class ClusterBase:
    """What does not depend on how one waits."""

    def __init__(self, banks: Sequence[Bank], clock: Clock = SYSTEM) -> None:
        """Takes over open boards; `open` is the usual way."""
        self._executor = Executor(banks, clock)

    def __repr__(self) -> str:
        nodes = " ".join(f"{r.name}={r.state!s}" for r in list(self._executor.entries.values())[:16])
        more = " …" if len(self._executor.entries) > 16 else ""
        return f"<{type(self).__name__} {', '.join(b.version for b in self.boards[:4])}: {nodes}{more}>"

    def __len__(self) -> int:
        return len(self._executor.names)

    def __contains__(self, name: object) -> bool:
        return name in self._executor.entries

    @property
    def names(self) -> list[str]:
        """The nodes' names, ``p1`` and on."""
        return list(self._executor.names)

    @property
    def boards(self) -> list[Board]:
        return [bank.board for bank in self._executor.banks]

    @property
    def banks(self) -> list[Bank]:
        """The open boards with their backends and rails: for tests and for those who extend the library."""
        return list(self._executor.banks)

    @property
    def holds_levels(self) -> bool:
        """Whether nodes that are on stay on when this cluster is closed or its process ends."""
        return all(bank.backend.holds_levels for bank in self._executor.banks)

    @property
    def clock(self) -> Clock:
        return self._executor.clock

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where nodes answer, host and TCP port by name, as far as their backend knows: the simulation's
        does, where it was told to ``serve``."""
        found: dict[str, tuple[str, int]] = {}
        for bank in self._executor.banks:
            if isinstance(bank.backend, SupportsAddresses):
                known = bank.backend.addresses()
                for name, role in zip(bank.names, bank.board.power, strict=False):
                    if role.offset in known:
                        found[name] = known[role.offset]
        return found

    @property
    def spacing(self) -> float:
        """Seconds between two power-ups of one rail."""
        return self._executor.banks[0].rail.spacing

    def select(self, *nodes: str) -> list[str]:
        """The names that lists such as ``p1,p3`` or ``p[1-3]`` stand for; without any, all nodes.

        Raises `NodeNameError`.
        """
        from ._names import parse_nodes

        return parse_nodes(nodes, self._executor.names)

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Calls back with each `rpi_clusterhat.events.Event`, after the fact and with no lock held, in the
        thread of an operation or read: of that which found it, or of another that is under way.

        Returns a function that ends the subscription. What the callback raises is logged and does not disturb
        the operation."""
        return self._executor.subscribe(callback)

    def _check_name(self, name: str) -> str:
        if name not in self._executor.entries:
            raise NodeNameError(
                f"{name!r} is no node of this cluster: it has {', '.join(self._executor.names)}"
            )
        return name

    def _status(self) -> Status:
        with self._executor.lock:
            return self._read_status()

    def _read_status(self) -> Status:
        executor = self._executor
        boards: list[BoardStatus] = []
        for i, bank in enumerate(executor.banks):
            levels = executor.levels(i)
            functions = {n: r.is_on(levels) for n, r in bank.board.functions.items()}
            boards.append(
                BoardStatus(
                    bank.board.version,
                    bank.backend_name,
                    tuple(bank.names),
                    functions,
                    bank.was_set_up is not False,
                )
            )
        nodes = {r.name: NodeStatus(bool(r.powered), r.state, r.failure) for r in executor.entries.values()}
        return Status(tuple(boards), nodes)


class Cluster(ClusterBase):
    """The nodes of one or several Cluster HATs.

        with Cluster.open() as hat:
            hat.on("p1", "p3")

    Opening and closing switch nothing. All methods may be called from any thread; those that switch on wait
    for the rail and let others work meanwhile.
    """

    @classmethod
    def open(
        cls,
        board: str | None = None,
        *,
        backend: str | None = None,
        options: Mapping[str, object] | None = None,
        boards: Sequence[Mapping[str, object]] | None = None,
        nodes: int | None = None,
        spacing: float | None = None,
        rail: str | None = None,
        lock_dir: str | None = None,
        config: str | None = None,
        clock: Clock = SYSTEM,
    ) -> Self:
        """Finds board and backend and opens them.

        What is not given here is taken from the environment (``RPI_CLUSTERHAT_BOARD`` …), a settings file,
        the vendor's settings file, and at last from what the HAT says of itself.

        board: the HAT's version, such as ``"2.3"``. nodes: how many of its sockets are in use (4).
        backend: ``gpiod``, ``sysfs``, ``i2c``, ``sim`` or a plugin's; options: the backend's.
        boards: several boards, each a mapping with ``board``, ``backend``, ``options``, ``nodes``, ``rail``.
        spacing: seconds between two power-ups (2.0). rail: the name of the supply; boards with the same name
        keep the spacing together. lock_dir: where processes share locks (``/run/lock``). config: a TOML file.

        Raises `SettingError`, `BoardNotFoundError`, `UnknownBackendError`, `BackendUnavailableError`.
        """
        said = {
            "board": board,
            "backend": backend,
            "options": options,
            "boards": boards,
            "nodes": nodes,
            "spacing": spacing,
            "rail": rail,
            "lock_dir": lock_dir,
        }
        return cls(open_banks(load_settings(said, config=config), clock), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Node:
        """The node of this name. Raises `NodeNameError`."""
        return Node(self, self._executor, self._check_name(name))

    def __iter__(self) -> Iterator[Node]:
        return (Node(self, self._executor, name) for name in self._executor.names)

    def on(self, *nodes: str) -> None:
        """Switches nodes on, all of them when none is named, each in its turn and with the rail's spacing;
        returns when the last has power. Nodes that have power are left alone and cost no wait.

        Raises `NodeNameError` before anything is switched, `NodeFailedError` and `SupersededError` after the
        others are on, `BackendError` and `LockError` at once: what was reached stays, and is reported.
        """
        names = self.select(*nodes)
        _drive(self._executor, lambda: self._executor.plan_on(names))

    def off(self, *nodes: str) -> None:
        """Cuts the power of nodes, all of them when none is named, at once and together. Waits for nothing;
        those that wait for the rail lose their place. Raises as `on` does."""
        names = self.select(*nodes)
        _drive(self._executor, lambda: self._executor.plan_off(names))

    def cycle(self, *nodes: str, pause: float = CYCLE_PAUSE) -> None:
        """Off together, ``pause`` seconds, and on again one after the other. Raises as `on` does."""
        names = self.select(*nodes)
        _drive(self._executor, lambda: self._executor.plan_cycle(names, pause))

    def init(self) -> bool:
        """Sets up each expander that nobody has set up since it got power, and says whether there was one.
        ``on`` and ``off`` do so themselves."""
        found: list[int] = []
        _drive(self._executor, lambda: self._executor.plan_init(found))
        return bool(found)

    def status(self) -> Status:
        """Reads all boards. Never writes."""
        try:
            return self._status()
        finally:
            self._executor.deliver()

    @property
    def alert(self) -> Function:
        """The ALERT LED."""
        return Function(self, self._executor, "alert")

    @property
    def led(self) -> Function:
        """The nodes' LEDs: on lets them shine."""
        return Function(self, self._executor, "led")

    @property
    def hub(self) -> Hub:
        """The USB hub between the nodes and the controller."""
        return Hub(self, self._executor, "hub")

    @property
    def write_protect(self) -> Function:
        """The write protection of the HAT's EEPROM."""
        return Function(self, self._executor, "wp")

    def close(self) -> None:
        """Gives the lines back. Switches nothing itself; where the backend does not hold its levels, nodes
        whose lines it held lose power. May be called again."""
        self._executor.close()


class _Handle:
    """Something of a cluster that has a name."""

    __slots__ = ("_cluster", "_executor", "name")

    def __init__(self, cluster: Cluster, executor: Executor, name: str) -> None:
        self._cluster = cluster
        self._executor = executor
        self.name = name


class Node(_Handle):
    """One node. As cheap as its name: make as many as you like. May be used from any thread."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Node {self.name} {self._entry.state!s}>"

    @property
    def _entry(self) -> NodeEntry:
        return self._executor.entries[self.name]

    def on(self) -> None:
        """See `Cluster.on`."""
        self._cluster.on(self.name)

    def off(self) -> None:
        """See `Cluster.off`."""
        self._cluster.off(self.name)

    def cycle(self, *, pause: float = CYCLE_PAUSE) -> None:
        """See `Cluster.cycle`."""
        self._cluster.cycle(self.name, pause=pause)

    @property
    def powered(self) -> bool:
        """Whether it has power, read from its line now."""
        try:
            return self._executor.refresh((self.name,))[self.name]
        finally:
            self._executor.deliver()

    @property
    def state(self) -> State:
        """Its state, after a look at its line."""
        _ = self.powered
        return self._entry.state

    def report_probe(self, *, up: bool) -> None:
        """Tells what a probe of it said: a node that is on is ready then, or is not any more."""
        self._executor.report_probe(self.name, up=up)
        self._executor.deliver()

    @property
    def desired(self) -> bool | None:
        """Whether it was last asked to be on; None where this cluster was not asked."""
        return self._entry.desired

    @property
    def failure(self) -> str | None:
        """Why it is in the state ``failed``."""
        return self._entry.failure


class Function(_Handle):
    """Something that the board switches besides its nodes; of several boards, all at once."""

    __slots__ = ()

    @property
    def supported(self) -> bool:
        """Whether a board of this cluster has it. Where not, the rest raises `UnsupportedError`."""
        return any(self.name in board.functions for board in self._cluster.boards)

    @property
    def is_on(self) -> bool:
        """Whether it is on (on all boards that have it), read now."""
        try:
            return self._executor.function(self.name)
        finally:
            self._executor.deliver()

    def on(self) -> None:
        _drive(self._executor, lambda: self._executor.plan_function(self.name, on=True))

    def off(self) -> None:
        _drive(self._executor, lambda: self._executor.plan_function(self.name, on=False))


class Hub(Function):
    """The USB hub, which can also be reset."""

    __slots__ = ()

    def reset(self, *, pause: float = HUB_PAUSE) -> None:
        """Off for ``pause`` seconds and on again, on again even when interrupted. All nodes vanish from USB
        meanwhile."""
        _drive(self._executor, lambda: self._executor.plan_hub_reset(pause))
