"""How each node of a cluster is reached and halted: what settings and backends say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import SettingError, UnsupportedError
from rpi_clusterhat.hardware.backend import SupportsConsoles, SupportsHalting, SupportsSsh
from rpi_clusterhat.settings.nodes import NodeSettings, check_names, node_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rpi_clusterhat.hardware.boards import Role
    from rpi_clusterhat.power.bank import Bank
    from rpi_clusterhat.settings.sources import Layer

    from .halt.halter import Guard, Halter
    from .halt.way import HaltWay, Sign

__all__ = ["NodeAccess", "NodeDirectory"]


class NodeAccess:
    """How one node is reached and halted. May be used from any thread.

    Args:
        name: The node's name.
        settings: What is set for it.
        bank: Its board.
        role: Its line.
    """

    def __init__(self, name: str, settings: NodeSettings, bank: Bank, role: Role) -> None:
        self.name = name
        self.settings = settings
        self._backend = bank.backend
        self._offset = role.offset

    def __repr__(self) -> str:
        return f"<NodeAccess {self.name}>"

    @property
    def number(self) -> int:
        """Its number on the controller: that of its console and of its USB device."""
        return int(self.name.removeprefix("p"))

    @property
    def host(self) -> str:
        """Its host name or address."""
        return self._ssh_address[0]

    @property
    def ssh_port(self) -> int | None:
        """The port of its ssh server; None for what ssh takes."""
        return self._ssh_address[1]

    @property
    def _ssh_address(self) -> tuple[str, int | None]:
        if "host" not in self.settings.origins and isinstance(self._backend, SupportsSsh):
            known = self._backend.ssh_addresses()
            if self._offset in known:
                return known[self._offset]
        return self.filled(self.settings["host"], "host"), self.settings["ssh_port"]

    @property
    def console_path(self) -> str:
        """The device of its console."""
        if "console" not in self.settings.origins and isinstance(self._backend, SupportsConsoles):
            known = self._backend.consoles()
            if self._offset in known:
                return known[self._offset]
        return self.filled(self.settings["console"], "console")

    def filled(self, text: str, setting: str, **more: str) -> str:
        """Returns a setting's text with ``{name}`` and ``{number}`` filled in. Raises `SettingError`."""
        try:
            return text.format(name=self.name, number=self.number, **more)
        except (LookupError, ValueError, AttributeError) as error:
            fields = ", ".join(f"{{{field}}}" for field in ("name", "number", *more))
            raise SettingError(f"Invalid value for {setting}: {text!r}: it may hold {fields}") from error

    # Halting ----------------------------------------------------------------------------------------------

    def halter(self, guards: Sequence[Guard] = ()) -> Halter:
        """Makes what halts it, by its settings."""
        from .halt.halter import Halter

        settings = self.settings
        ways = [self._way(name) for name in settings["halt"]]
        return Halter(
            self.name,
            ways,
            list(self._signs()),
            guards=guards,
            timeout=settings["halt_timeout"],
            settle=settings["halt_settle"],
            quiet=settings["halt_quiet"],
        )

    def _way(self, name: str) -> HaltWay:
        if name == "simulated":
            from .halt.simulated import SimulatedWay

            return SimulatedWay(self._simulated(), self._offset)
        raise NotImplementedError(name)

    def _simulated(self) -> SupportsHalting:
        if isinstance(self._backend, SupportsHalting):
            return self._backend
        raise UnsupportedError(f"{self.name} is no simulated node: 'simulated' is no way to halt it")

    def _signs(self) -> Iterable[Sign]:
        from .halt.signs import DeviceSign, ProbeSign, SimulatedSign

        if "simulated" in self.settings["halt"]:
            yield SimulatedSign(self._simulated(), self._offset)
            return
        from .probes import TcpProbe, UsbProbe

        yield DeviceSign(self.console_path)
        yield ProbeSign(UsbProbe(self.number), "USB", is_sure=True)
        yield ProbeSign(TcpProbe(self.host, self.ssh_port or 22), "the network", is_sure=False)


class NodeDirectory:
    """How the nodes of a cluster are reached and halted. May be used from any thread.

    Args:
        layers: What each place sets in its table ``node``.
        banks: The open boards.

    Raises:
        SettingError: Something is set for a node that is not there.
    """

    def __init__(self, layers: Sequence[Layer], banks: Sequence[Bank]) -> None:
        self._layers = tuple(layers)
        self._places: dict[str, tuple[Bank, Role]] = {}
        for bank in banks:
            for name, role in zip(bank.names, bank.board.power, strict=False):
                self._places[name] = bank, role
        if layers:
            check_names(layers, list(self._places))
        self._known: dict[str, NodeAccess] = {}
        self.guards: list[Guard] = []
        """Who is asked before a node is halted."""

    def __getitem__(self, name: str) -> NodeAccess:
        if name not in self._known:
            self._known[name] = NodeAccess(name, node_settings(self._layers, name), *self._places[name])
        return self._known[name]

    def halters(self, names: Iterable[str]) -> Mapping[str, Halter]:
        """Makes what halts each of these nodes, where there is a way to."""
        if not self._layers:
            return {}
        return {name: self[name].halter(self.guards) for name in names if self[name].settings["halt"]}
