"""Entry points, commands, the wheel's packages and the folders on disk say the same: a package that one of
them lacks would work in an editable install and be missing from the wheel without a word."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution, version
from importlib.resources import files
from pathlib import Path

import rpi_clusterhat
from rpi_clusterhat.hardware import discovery

ROOT = Path(__file__).resolve().parents[2]
FOLDERS: set[str] = {p.parent.name for p in (ROOT / "backends").glob("*/__init__.py")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_each_folder_is_in_the_wheel_and_has_an_entry_point() -> None:
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    backends = {f"backends/{name}" for name in FOLDERS}
    assert packages == {"rpi_clusterhat", *backends, "examples/proxy/clusterhat_proxy"}
    entry_points = PROJECT["project"]["entry-points"][discovery.GROUP]
    assert {target.partition(":")[0] for target in entry_points.values()} == FOLDERS


def test_each_package_is_typed() -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert files(package.rpartition("/")[2]).joinpath("py.typed").is_file()


def test_the_installed_backends_are_those_declared() -> None:
    declared = PROJECT["project"]["entry-points"][discovery.GROUP]
    ours = {p.name: p.target for p in discovery.installed() if p.distribution == "rpi-clusterhat"}
    assert ours == declared
    for name in declared:
        assert discovery.load(name).summary


def test_the_installed_commands_are_those_declared() -> None:
    installed = distribution("rpi-clusterhat").entry_points.select(group="console_scripts")
    assert {found.name: found.value for found in installed} == PROJECT["project"]["scripts"]
    for found in installed:
        assert callable(found.load())


def test_the_version_is_said_once_more_only_where_it_must_be() -> None:
    assert rpi_clusterhat.__version__ == PROJECT["project"]["version"] == version("rpi-clusterhat")


def test_a_package_that_is_missing_is_named_as_the_extra_names_it() -> None:
    """And not with an extra of ours: until the library is published, pip finds nothing under its name."""
    extras = PROJECT["project"]["optional-dependencies"]
    runtime = {extra: set(extras[extra]) for extra in ("gpiod", "i2c", "cli", "proxy")}
    named: set[str] = set()
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        for path in Path(str(files(package.rpartition("/")[2]))).rglob("*.py"):
            named |= set(re.findall(r"pip install '([^']+)'", path.read_text(encoding="utf-8")))
    assert named == set[str]().union(*runtime.values())
