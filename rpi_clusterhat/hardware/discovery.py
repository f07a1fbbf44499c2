"""Finds installed backends by their entry points and loads the one that is asked for.

The others are not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import (
    AmbiguousBackendError,
    BackendUnavailableError,
    UnknownBackendError,
)
from rpi_clusterhat.settings.option import read_value
from rpi_clusterhat.settings.sources import Given, Origin, unknown

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
    name: str, plugin: Plugin, given: Mapping[str, object], where: str | Origin | Mapping[str, Origin]
) -> dict[str, Any]:
    """Reads the options of a plugin.

    A number may be given as text, so that ``32``, ``"32"`` and ``"0x20"`` are one. In names ``-`` and ``_``
    are alike.

    Args:
        name: The backend's name, for errors.
        plugin: The plugin.
        given: The options that are set, by name.
        where: Where they come from, for errors; or where each of them comes from.

    Returns:
        A value for each option that the plugin has.

    Raises:
        SettingError: The plugin has no such option, or a value is none that it takes.
    """
    if isinstance(where, str):
        where = Origin("argument", where)
    known = {option.name: option for option in plugin.options}
    values = {option.name: option.default for option in plugin.options}
    for key, value in given.items():
        origin = where if isinstance(where, Origin) else where[key]
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise unknown("option", key, known, origin, of=f"the backend {name}")
        values[option.name] = read_value(option.parse, Given(value, origin), f"option {option.name}")
    return values
