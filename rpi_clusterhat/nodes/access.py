"""How each node of a cluster is reached and halted: what settings and backends say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import SettingError, UnsupportedError
from rpi_clusterhat.hardware.backend import SupportsConsoles, SupportsHalting, SupportsSsh
from rpi_clusterhat.settings.nodes import NodeSettings, check_names, node_settings, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rpi_clusterhat.hardware.boards import Role
    from rpi_clusterhat.power.bank import Bank
    from rpi_clusterhat.settings.secret import Secret
    from rpi_clusterhat.settings.sources import Layer

    from .console.console import AsyncConsole, Console
    from .console.listener import ConsoleListener
    from .halt.halter import Guard, Halter
    from .halt.way import HaltWay, Sign
    from .hooks import Hook
    from .ssh import Ssh

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
        self._ssh: Ssh | None = None

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
        return self.filled("host", self.settings["host"]), self.settings["ssh_port"]

    @property
    def console_path(self) -> str:
        """The device of its console."""
        if "console" not in self.settings.origins and isinstance(self._backend, SupportsConsoles):
            known = self._backend.consoles()
            if self._offset in known:
                return known[self._offset]
        return self.filled("console", self.settings["console"])

    def filled(self, setting: str, text: str) -> str:
        """Returns a setting's text with ``{name}`` and ``{number}`` filled in. Raises `SettingError`."""
        from .hooks.hook import Template

        return Template(setting, text).filled({"name": self.name, "number": self.number})

    @property
    def fields(self) -> dict[str, str | int]:
        """What hooks may fill in."""
        return {"name": self.name, "number": self.number, "host": self.host}

    @property
    def secret(self) -> Secret | None:
        """The password for its console, from the settings or from the file that they name.

        Raises:
            SettingError: The file cannot be read, is empty, or may be read by everybody.
        """
        path = self.settings["secret_file"]
        own: Secret | None = self.settings["secret"]
        return own if own is not None or path is None else read_secret_file(path)

    # Consoles and ssh -------------------------------------------------------------------------------------

    def console(self) -> Console:
        """Makes its console, which is not open yet. Raises `SettingError`."""
        from .console.console import Console

        return Console(self.console_path, self.settings["user"], self.secret)

    def console_async(self) -> AsyncConsole:
        """Makes its console for an event loop, as `console` does."""
        from .console.console import AsyncConsole

        return AsyncConsole(self.console_path, self.settings["user"], self.secret)

    def console_listener(self) -> ConsoleListener | None:
        """Makes what reads its console while it boots; None where no setting speaks of a console."""
        if "console" not in self.settings.origins and "console" not in self.settings["halt"]:
            return None
        from .console.listener import ConsoleListener

        return ConsoleListener(self.console_path)

    def ssh(self) -> Ssh:
        """Its ssh, the same for all callers, so that they share a connection. Raises `SettingError`."""
        if self._ssh is None:
            from .ssh import Ssh

            settings = self.settings
            # A settings file for ssh may name the user, too, where nobody named one here.
            is_ours = settings["ssh_config"] is None or "user" in settings.origins
            self._ssh = Ssh(
                self.host,
                name=self.name,
                user=settings["user"] if is_ours else None,
                port=self.ssh_port,
                identity=settings["ssh_identity"],
                config=settings["ssh_config"],
            )
        return self._ssh

    # Halting ----------------------------------------------------------------------------------------------

    def halter(self, guards: Sequence[Guard] = ()) -> Halter:
        """Makes what halts it, by its settings."""
        from .halt.halter import Halter

        settings = self.settings
        ways = [self._way(name) for name in settings["halt"]]
        return Halter(
            self.name,
            ways,
            list(self._signs(ways)),
            guards=[*guards, *self._guard()],
            timeout=settings["halt_timeout"],
            settle=settings["halt_settle"],
            quiet=settings["halt_quiet"],
        )

    def _way(self, name: str) -> HaltWay:
        if name == "simulated":
            from .halt.simulated import SimulatedWay

            return SimulatedWay(self._simulated(), self._offset)
        from .halt.ways import ConsoleWay, HookWay, SshWay

        if name == "console":
            return ConsoleWay(self.console, self._halt_command)
        if name == "ssh":
            return SshWay(self.ssh, self._halt_command)
        return HookWay(name, self._hook(name), lambda: self.fields)

    def _hook(self, name: str) -> Hook:
        from .hooks import CommandHook, HttpHook

        setting = "halt_hook" if name == "hook" else "halt_url"
        given = self.settings[setting]
        if not given:
            raise SettingError(f"halt has {name!r} for {self.name}, which needs the setting {setting}")
        return CommandHook(*given) if name == "hook" else HttpHook(given)

    @property
    def _halt_command(self) -> str:
        given: str | None = self.settings["halt_command"]
        if given is not None:
            return given
        return "poweroff" if self.settings["user"] == "root" else "sudo -n poweroff"

    def _guard(self) -> Iterable[Guard]:
        words = self.settings["halt_guard"]
        if words:
            from .hooks import CommandHook

            hook = CommandHook(*words)
            yield lambda _: hook.steps_refusal(self.fields, lambda: hook.timeout)

    def _simulated(self) -> SupportsHalting:
        if isinstance(self._backend, SupportsHalting):
            return self._backend
        raise UnsupportedError(f"{self.name} is no simulated node: 'simulated' is no way to halt it")

    def _signs(self, ways: Iterable[HaltWay]) -> Iterable[Sign]:
        from .halt.signs import DeviceSign, ProbeSign, SimulatedSign

        if "simulated" in self.settings["halt"]:
            yield SimulatedSign(self._simulated(), self._offset)
            return
        from .halt.ways import ConsoleEndSign, ConsoleWay
        from .probes import TcpProbe, UsbProbe

        yield from (ConsoleEndSign(way) for way in ways if isinstance(way, ConsoleWay))
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
