"""What a backend is, and how a plugin is found and opened.

A backend drives a bank of lines. It knows offsets and levels (True is high), nothing of nodes. A plugin is
a `Plugin` that an entry point of the group ``rpi_clusterhat.backends`` names; the built-in ones are found
the same way as a stranger's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import (
    AmbiguousBackendError,
    BackendUnavailableError,
    SettingError,
    UnknownBackendError,
)
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .clock import Clock

__all__ = [
    "GROUP",
    "Backend",
    "Installed",
    "Line",
    "Opening",
    "Option",
    "Plugin",
    "SupportsAddresses",
    "SupportsSetUp",
    "installed",
    "load",
    "parse_bool",
    "parse_int",
    "parse_options",
]

GROUP = "rpi_clusterhat.backends"


class Backend(Protocol):
    """A bank of lines, open.

    Opening changes no level. The cluster calls a backend from one thread at a time, not always the same.
    Errors are those of `rpi_clusterhat.errors`: `BackendError` and its kin, and those of locks; a call
    after `close` raises `ClosedError`.
    """

    @property
    def holds_levels(self) -> bool:
        """Whether outputs keep their level once this is closed or its process has died: found out, not
        assumed."""
        ...

    def read(self) -> Mapping[int, bool]:
        """The level at the pin of each line, by offset. Never writes to the hardware."""
        ...

    def write(self, levels: Mapping[int, bool]) -> None:
        """Makes these lines outputs with these levels, without a glitch on the way, together in one
        transaction where the hardware can; the other lines are left as they are. A line that the backend was
        not opened with is a `ValueError`, and nothing is written."""
        ...

    def close(self) -> None:
        """Gives the lines back. May be called again."""
        ...


@runtime_checkable
class SupportsSetUp(Protocol):
    """A backend whose bank starts out unset after it got power, such as an expander with all pins inputs."""

    @property
    def is_set_up(self) -> bool:
        """Whether anybody has set the bank up since it got power, as seen by the last `Backend.read`."""
        ...

    def set_up(self, levels: Mapping[int, bool]) -> None:
        """Sets the output levels first and only then makes the lines outputs."""
        ...


@runtime_checkable
class SupportsAddresses(Protocol):
    """A backend that knows where its nodes answer, as a simulated one does."""

    def addresses(self) -> Mapping[int, tuple[str, int]]:
        """Host and TCP port, by the offset of the node's line."""
        ...


class Line(Record):
    """A line that a board uses."""

    offset: int
    name: str
    """What it switches: ``p1`` …, ``alert``, ``led``, ``hub``, ``wp``. For labels and the simulation."""


class Opening(Record):
    """What a plugin gets to open its backend with."""

    lines: Sequence[Line]
    options: Mapping[str, Any]
    """A value for each of the plugin's options."""
    clock: Clock
    lock_dir: str
    """Where locks that processes share have their files."""
    shared: dict[str, Any]
    """Objects that the banks of one cluster share; empty for the first of them."""
    expander: bool = False
    """Whether the offsets are those of an I2C expander rather than of the controller's header: a backend that
    finds the header's chip by itself must not do so then."""

    def claim(self, what: str) -> None:
        """Notes that this board uses what this text names; raises `SettingError` where another board of the
        cluster does so already, as two would switch each other's nodes."""
        claimed: set[str] = self.shared.setdefault("claimed", set())
        if what in claimed:
            raise SettingError(f"two boards of this cluster use {what}: say which one each of them uses")
        claimed.add(what)


class Option(Record):
    """An option of a plugin, which users give as ``-o NAME=VALUE`` or under ``options`` in a file."""

    name: str
    parse: Callable[[str], Any]
    """From text; raises `ValueError` whose text says what is allowed."""
    default: Any
    help: str


def _usable(options: Mapping[str, Any]) -> None:
    del options


class Plugin(Record):
    """What the entry point names."""

    summary: str
    options: Sequence[Option]
    open: Callable[[Opening], Backend]
    """Opens the backend, or raises `BackendUnavailableError` from its cause. Imports third parties here."""
    check: Callable[[Mapping[str, Any]], None] = _usable
    """Raises the `BackendUnavailableError` that opening with these options would; opens and changes
    nothing."""
    board: str | None = None
    """The version of the board to take where none is said, instead of looking for one: for simulations."""


def parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "yes", "true", "on"):
        return True
    if word in ("0", "no", "false", "off"):
        return False
    raise ValueError("yes or no")


def parse_int(low: int, high: int, *, form: str = "d") -> Callable[[str], int]:
    """A parser for a whole number in a range, decimal or ``0x`` hexadecimal."""

    def parse(text: str) -> int:
        allowed = (
            f"a number from {low:#{form}} to {high:#{form}}"
            if form == "x"
            else f"a number from {low} to {high}"
        )
        try:
            value = int(text, 0)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high:
            raise ValueError(allowed)
        return value

    return parse


class Installed(Record):
    """A plugin as its distribution declares it, not imported yet."""

    name: str
    target: str
    """Module and attribute: ``rpi_clusterhat_sim:plugin``."""
    distribution: str


def installed() -> list[Installed]:
    """All plugins on the import path, by name. Imports none of them."""
    from importlib.metadata import entry_points

    found = {
        Installed(ep.name, ep.value, ep.dist.name if ep.dist is not None else "?")
        for ep in entry_points(group=GROUP)
    }
    return sorted(found, key=lambda plugin: (plugin.name, plugin.target, plugin.distribution))


def _scan(name: str) -> list[Installed]:
    """The plugins of this name that lie in plain folders on the import path.

    What `installed` finds there, without the import of importlib.metadata, which alone took longer (36 ms)
    than a whole ``status`` takes without it.
    """
    import os
    import sys

    found: dict[str, Installed] = {}
    seen: set[str] = set()
    standard_library = os.path.dirname(os.__file__)
    for folder in sys.path:
        if folder == standard_library:
            continue
        try:
            entries = [e for e in os.listdir(folder or ".") if e.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for entry in entries:
            distribution = entry.partition("-")[0].replace("_", "-").lower()
            if distribution in seen:  # an earlier folder's hides it
                continue
            seen.add(distribution)
            try:
                with open(os.path.join(folder, entry, "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError):  # none, or a stranger's mistake
                continue
            section = text.partition(f"[{GROUP}]")[2].partition("\n[")[0]
            for line in section.splitlines():
                key, equals, target = (part.strip() for part in line.partition("="))
                if equals and key == name:
                    found[distribution] = Installed(name, target, distribution)
    return [found[distribution] for distribution in sorted(found)]


def load(name: str) -> Plugin:
    """The plugin of this name, imported.

    Raises `UnknownBackendError`, `AmbiguousBackendError`, or `BackendUnavailableError` where its module
    does not import.
    """
    matches = _scan(name) or [p for p in installed() if p.name == name]
    if not matches:
        names = ", ".join(sorted({p.name for p in installed()})) or "none"
        raise UnknownBackendError(
            f"no backend is called {name!r}: installed in the group {GROUP} are {names}"
        )
    if len(matches) > 1:
        both = " and ".join(p.distribution for p in matches)
        raise AmbiguousBackendError(f"the backend {name!r} is offered by {both}: uninstall one of them")
    module_name, _, attribute = matches[0].target.partition(":")
    from importlib import import_module

    try:
        plugin = getattr(import_module(module_name), attribute)
    except (Exception, SystemExit) as error:
        raise BackendUnavailableError(
            f"the backend {name!r} of {matches[0].distribution} cannot be loaded "
            f"from {matches[0].target}: {error}"
        ) from error
    if not isinstance(plugin, Plugin):
        raise BackendUnavailableError(
            f"the backend {name!r} of {matches[0].distribution}: {matches[0].target} is not a Plugin"
        )
    return plugin


def parse_options(
    name: str, plugin: Plugin, given: Mapping[str, object], where: str | Mapping[str, str]
) -> dict[str, Any]:
    """A value for each option of the plugin. ``where`` is the place to name in errors, or one for each key.

    Values that are not text are taken by their text, so that ``32``, ``"32"`` and ``"0x20"`` are one.
    Raises `SettingError`.
    """

    def place(key: str) -> str:
        return where if isinstance(where, str) else where[key]

    known = {option.name: option for option in plugin.options}
    for key in given:
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise SettingError(f"{place(key)}: the backend {name} has no option {key!r}: it has {allowed}")
    values: dict[str, Any] = {}
    for option in plugin.options:
        if option.name not in given:
            values[option.name] = option.default
            continue
        value = given[option.name]
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        try:
            if "\0" in text:
                raise ValueError("text without NUL characters")
            values[option.name] = option.parse(text)
        except ValueError as error:
            shown = text if text.isprintable() else repr(text)
            raise SettingError(f"{place(option.name)}: {option.name}={shown}: must be {error}") from error
    return values
