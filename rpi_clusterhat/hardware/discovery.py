"""Finds installed backends by their entry points and loads the one that is asked for.

The others are not imported.
"""

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
    """Lists all plugins on the import path. It imports none of them.

    Returns:
        The plugins, sorted by name.
    """
    from importlib.metadata import entry_points

    found = {
        Installed(ep.name, ep.value, ep.dist.name if ep.dist is not None else "?")
        for ep in entry_points(group=GROUP)
    }
    return sorted(found, key=lambda plugin: (plugin.name, plugin.target, plugin.distribution))


def _scan(name: str) -> list[Installed]:
    """Finds the plugins of a name in the plain folders of the import path.

    It finds there what `installed` does, without importing importlib.metadata: that alone took longer (36 ms)
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
    """Imports the plugin of a name.

    Args:
        name: The name of the backend, such as ``i2c``.

    Raises:
        UnknownBackendError: No installed distribution offers a backend of this name.
        AmbiguousBackendError: Two distributions offer one.
        BackendUnavailableError: Its module cannot be imported.
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
    """Parses the options that a user gave for a backend.

    Values that are no text are turned into text first, so that ``32``, ``"32"`` and ``"0x20"`` are the same.

    Args:
        name: The backend's name, for errors.
        plugin: The backend's plugin, which knows its options.
        given: The values by option.
        where: The place that errors name, or one for each key of ``given``.

    Returns:
        A value for each option of the plugin, its default where none was given.

    Raises:
        SettingError: There is no such option, or its value is not allowed.
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
