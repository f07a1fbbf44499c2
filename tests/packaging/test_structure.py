"""The tree is the architecture: who may lean on whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rpi_clusterhat

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(rpi_clusterhat.__file__).parent
BACKENDS = sorted(path.parent for path in (ROOT / "backends").glob("*/__init__.py"))

# A floor may import from those below it; files of one floor from each other.
FLOORS = [
    {"errors", "_frozen", "_fork"},
    {"events"},
    {"clock", "validate", "streams", "_names", "_setup_command"},
    {"waiting"},
    {"settings"},
    {"hardware"},
    {"power", "setup"},
    {"nodes"},
    {"_status", "_switching"},
    {"_cluster_base"},
    {"_async_open"},
    {"cluster", "aio"},
    {"pool"},
    {"__init__"},
    {"testing", "cli"},
    {"__main__"},
]
LEVEL = {module: i for i, floor in enumerate(FLOORS) for module in floor}
# What a plugin may lean on: the contract, and what all floors lean on.
PLUGINS_MAY = {
    "hardware.backend",
    "hardware.simulation",
    "hardware.gpio",
    "hardware.lock_files",
    "hardware.locks",
    "hardware.permission",
    "errors",
    "clock",
    "_fork",
    "_frozen",
    "_setup_command",
}


def imported(path: Path) -> set[str]:
    """The modules of the library that a file imports, by their name below the package, and the plugins."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            full = node.module or ""
            if node.level:
                inside = path.is_relative_to(LIBRARY)
                if not inside or node.level < len(path.relative_to(LIBRARY).parts):  # its own package
                    continue
                full = f"rpi_clusterhat.{full}".rstrip(".")
            is_folder = (LIBRARY.parent / full.replace(".", "/")).is_dir()
            names = [f"{full}.{alias.name}" for alias in node.names] if is_folder else [full]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "rpi_clusterhat":
                found.add(rest if rest.partition(".")[0] in LEVEL else "__init__")
            elif package.startswith("rpi_clusterhat_"):
                found.add(package)
    return found


def module_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda p: str(p.relative_to(LIBRARY)))
def test_arrows_point_down_only(path: Path) -> None:
    own = module_of(path)
    assert own in LEVEL, f"{own} has no place in FLOORS: decide where it belongs"
    for other in {name.partition(".")[0] for name in imported(path)} - {own}:
        assert other in LEVEL, f"{path.name} leans on the plugin {other}: only its entry point may"
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}, which is not below it"


@pytest.mark.parametrize("package", BACKENDS, ids=lambda p: p.name)
def test_a_plugin_leans_on_the_contract_only(package: Path) -> None:
    for path in package.rglob("*.py"):
        own = {name for name in imported(path) if name.partition(".")[0] == package.name}
        assert imported(path) - own <= PLUGINS_MAY, path


def test_only_the_clock_asks_for_the_time() -> None:
    for path in [*LIBRARY.rglob("*.py"), *(ROOT / "backends").rglob("*.py")]:
        if path.name == "clock.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not {"time", "datetime"} & set(names), f"{path} imports {names}: take a Clock instead"
