"""Which backends are installed, and how one is loaded: without importing those that are not asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import (
    AmbiguousBackendError,
    BackendUnavailableError,
    SettingError,
    UnknownBackendError,
)

from .backend import Plugin

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GROUP", "Installed", "installed", "load", "parse_options"]

GROUP = "rpi_clusterhat.backends"


class Installed(Frozen):
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
