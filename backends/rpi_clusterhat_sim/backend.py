"""The backend: lines of a board that is in a simulated world, in this process or in a file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rpi_clusterhat.errors import BackendError, ClosedError, PowerLostError, SettingError

from .board import SimBoard
from .holders import new_holder
from .load import NodeModel
from .node import node_number
from .supply import CAPACITY
from .world import RAIL

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from rpi_clusterhat.hardware.backend import Line

    from .bank import SimBank
    from .consoles import Consoles
    from .faults import Fault
    from .serving import Servers
    from .world import World, WorldSource

__all__ = ["BankSpec", "Computers", "SimBackend"]


class BankSpec(NamedTuple):
    """What a bank is to be when it comes into the world. None is what it is already, or the default."""

    rail: str | None = None
    capacity: float | None = None
    ambient: float | None = None
    model: Mapping[str, Any] = {}
    """Fields of `NodeModel`."""
    set_up: bool = True
    pos: bool = False


class Computers(Protocol):
    """Where nodes that are computers are reached, by their names in their world.

    They run while they have power, from `add` on. All methods may be called from any thread.
    """

    def add(self, names: Iterable[str]) -> None: ...

    def discard(self, names: Iterable[str]) -> None: ...

    def address(self, name: str) -> tuple[str, int]: ...

    def ssh_address(self, name: str) -> tuple[str, int]: ...

    def console(self, name: str) -> str: ...

    def is_running(self, name: str) -> bool: ...


class SimBackend:
    """Lines of a bank of a simulated world.

    The world is a `World` or a `StateFile`. A bank that is not in it yet is made, with the given lines;
    of one that is, the lines must be some of its lines. ``holds=False`` plays a backend whose lines drop
    back to low when it is closed or its process has died. ``servers`` give its nodes addresses while it is
    open, or ``computers`` are its nodes; their source is the same world. May be used from any thread.
    """

    def __init__(
        self,
        world: WorldSource,
        lines: Sequence[Line],
        *,
        bank: str = "0",
        holds: bool = True,
        spec: BankSpec = BankSpec(),  # noqa: B008 - immutable
        faults: Sequence[Fault] = (),
        servers: Servers | None = None,
        computers: Computers | None = None,
    ) -> None:
        self._shared: WorldSource = world
        self._lines = tuple(lines)
        self._offsets = frozenset(line.offset for line in lines)
        self._bank_name = bank
        self._spec = spec
        self._holder = None if holds else new_holder()
        self._servers: Computers | Servers | None = servers if computers is None else computers
        self._computers = computers
        self._served: dict[int, str] = {}
        self._consoles: Consoles | None = None
        self._closed = False
        self._known: tuple[World, SimBank] | None = None
        with self._shared.look() as seen:
            to_do = bool(faults) or bank not in seen.banks
            if not to_do:
                self._is_set_up = self._find(seen).is_set_up
        if to_do:
            with self._shared.change() as world_now:
                found = self._find(world_now)
                for fault in faults:
                    _apply(fault, world_now, found)
                self._is_set_up = found.is_set_up
        if computers is not None:
            self._serve()

    def __repr__(self) -> str:
        return f"<SimBackend bank {self._bank_name} of {self._shared!r}>"

    @property
    def holds_levels(self) -> bool:
        return self._holder is None

    @property
    def is_set_up(self) -> bool:
        return self._is_set_up

    def rail_lock(self, rail: str) -> str | None:
        """Returns the path of the lock of one of this world's rails.

        It is None for a world that is in this process only.
        """
        return self._shared.rail_lock(rail)

    @property
    def simulation(self) -> SimBoard:
        return SimBoard(self, {line.offset for line in self._lines if node_number(line.name) is not None})

    @contextmanager
    def look(self) -> Generator[tuple[World, SimBank]]:
        """The world and this bank of it, to be read; from a state file, a copy as of now."""
        with self._shared.look() as world:
            yield world, self._find(world)

    @contextmanager
    def change(self) -> Generator[tuple[World, SimBank]]:
        """The same, to be changed: faults, what others do to the lines. A state file is saved after it."""
        with self._shared.change() as world:
            yield world, self._find(world)

    def read(self) -> dict[int, bool]:
        """Raises `TransientBusError` or `DeviceGoneError` where that was asked for."""
        self._check_open()
        with self._shared.look() as world:
            bank = self._find(world)
            if not bank.bus_faults:
                return self._see(bank)
        with self._shared.change() as world:  # the fault counts accesses, and reads are some
            return self._see(self._find(world))

    def _see(self, bank: SimBank) -> dict[int, bool]:
        levels = bank.read()
        self._is_set_up = bank.is_set_up
        if len(levels) == len(self._offsets):
            return levels
        return {line.offset: levels[line.offset] for line in self._lines}

    def write(self, levels: Mapping[int, bool]) -> None:
        """Switches lines; see `rpi_clusterhat.hardware.backend.Backend.write`.

        Raises:
            StuckLineError: A line sticks at the opposite level.
            PowerLostError: The bank was set up when it was read, and has lost its power since.
            BusError: The bus was to fail.
        """
        self._check_open()
        self._check_lines(levels)
        with self._shared.change() as world:
            bank = self._find(world)
            if not bank.is_set_up and self._is_set_up:
                self._see(bank)  # finding it out is an access
                raise PowerLostError(
                    f"the simulated bank {self._bank_name} lost power since it was set up: set it up again"
                )
            self._is_set_up = True
            bank.write(levels, self._holder)

    def set_up(self, levels: Mapping[int, bool]) -> None:
        self._check_open()
        self._check_lines(levels)
        with self._shared.change() as world:
            bank = self._find(world)
            bank.set_up(levels, self._holder)
            self._is_set_up = True

    def addresses(self) -> dict[int, tuple[str, int]]:
        """Says where nodes answer while they are up. The first call starts the service.

        Returns:
            Host and port by the offset of the node's line; empty if no service was asked for.

        Raises:
            BackendError: There are no free ports.
        """
        self._check_open()
        servers = self._servers
        if servers is None:
            return {}
        self._serve()
        return {offset: servers.address(name) for offset, name in self._served.items()}

    def consoles(self) -> dict[int, str]:
        """Says where nodes have their consoles while they run. The first call makes them.

        Returns:
            Paths by the offset of the node's line; empty where nodes are no computers and do not serve.

        Raises:
            BackendError: The folder or the pseudo-terminals cannot be made.
        """
        self._check_open()
        computers = self._computers
        if computers is not None:
            return {offset: computers.console(name) for offset, name in self._served.items()}
        if self._servers is None:
            return {}
        with self._shared.look() as world:
            consumers = self._find(world).consumers
        names = {offset: consumers[offset].name for offset in sorted(self._offsets & consumers.keys())}
        if self._consoles is None:
            from .consoles import Consoles

            self._consoles = Consoles(self._shared)
        try:
            self._consoles.add(names.values())
        except OSError as error:
            raise BackendError(f"the simulated nodes cannot have consoles: {error.strerror}") from error
        return {offset: self._consoles.path(name) for offset, name in names.items()}

    def ssh_addresses(self) -> dict[int, tuple[str, int]]:
        """Has those of nodes that are computers."""
        self._check_open()
        computers = self._computers
        if computers is None:
            return {}
        return {offset: computers.ssh_address(name) for offset, name in self._served.items()}

    def _serve(self) -> None:
        if self._servers is None or self._served:
            return
        with self._shared.look() as world:
            consumers = self._find(world).consumers
        served = {offset: consumers[offset].name for offset in sorted(self._offsets & consumers.keys())}
        try:
            self._servers.add(served.values())
        except OSError as error:
            raise BackendError(f"the simulated nodes cannot have addresses: {error.strerror}") from error
        self._served = served

    def ask_to_halt(self, offset: int) -> None:
        """See `rpi_clusterhat.hardware.backend.SupportsHalting.ask_to_halt`."""
        self._check_node(offset)
        if self._computers is not None:
            raise BackendError(
                f"{self._served[offset]} is a computer: log in to it to halt it, by its console or by ssh"
            )
        with self._shared.change() as world:
            world.node(self._find(world).consumers[offset].name).halt()

    def has_halted(self, offset: int) -> bool:
        self._check_node(offset)
        if self._computers is not None:
            return not self._computers.is_running(self._served[offset])
        with self._shared.look() as world:
            return world.node(self._find(world).consumers[offset].name).phase in ("off", "halted")

    def close(self) -> dict[int, bool] | None:
        if self._closed:
            return None
        self._closed = True
        if self._consoles is not None:
            self._consoles.close()
        if self._servers is not None:
            self._servers.discard(self._served.values())
        if self._holder is None:
            return None
        with self._shared.change() as world:
            bank = self._find(world)
            given_back = bank.release([self._holder])
            levels = bank.levels()
        return {offset: levels[offset] for offset in given_back}

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self!r} was closed: open it again")

    def _check_lines(self, levels: Mapping[int, bool]) -> None:
        for offset in levels:
            if offset not in self._offsets:
                raise ValueError(f"line {offset} was not opened: {sorted(self._offsets)} were")

    def _check_node(self, offset: int) -> None:
        self._check_open()
        self._check_lines({offset: True})
        if next(node_number(line.name) for line in self._lines if line.offset == offset) is None:
            raise ValueError(f"no node is on line {offset}")

    def _find(self, world: World) -> SimBank:
        """This backend's bank, made where the world has none: a state file may be removed at any time."""
        if self._known is not None and self._known[0] is world:
            return self._known[1]
        bank = world.banks.get(self._bank_name)
        bank = self._add_to(world) if bank is None else self._agree_with(world, bank)
        self._known = world, bank
        return bank

    def _add_to(self, world: World) -> SimBank:
        spec = self._spec
        timeline = world.timeline
        rail = spec.rail or RAIL
        if rail not in timeline.supplies:
            world.add_rail(rail, CAPACITY if spec.capacity is None else spec.capacity)
        if not world.banks and spec.ambient is not None:
            world.set_ambient(spec.ambient)
        self._agree("capacity", spec.capacity, timeline.supplies[rail].capacity)
        self._agree("ambient", spec.ambient, timeline.ambient)
        given = {name: value for name, value in spec.model.items() if value is not None}
        model = NodeModel(**given)
        return world.add_bank(
            self._bank_name, self._lines, rail=rail, model=model, set_up=spec.set_up, pos=spec.pos
        )

    def _agree_with(self, world: World, bank: SimBank) -> SimBank:
        spec = self._spec
        if not set(self._lines) <= set(bank.lines):
            has = ", ".join(f"{line.name} at {line.offset}" for line in bank.lines)
            raise BackendError(
                f"the bank {bank.name} of {self._shared!r} is another board's, with {has}: "
                "name another bank, or remove the state file"
            )
        self._agree("rail", spec.rail, bank.supply.name)
        self._agree("capacity", spec.capacity, bank.supply.capacity)
        self._agree("ambient", spec.ambient, world.timeline.ambient)
        for name, value in bank.model._asdict().items():
            self._agree(name, spec.model.get(name), value)
        return bank

    def _agree(self, name: str, given: object, holds: object) -> None:
        if given is not None and given != holds:
            raise BackendError(
                f"{name}={given}: {self._shared!r} was made with {name}={holds}: "
                "leave it out, or begin a new world"
            )


def _apply(fault: Fault, world: World, bank: SimBank) -> None:
    try:
        fault.apply(world, bank)
    except ValueError as error:
        raise SettingError(f"fault={error}") from error
