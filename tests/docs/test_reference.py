"""Every name, option, setting and command is on its page of the reference."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import rpi_clusterhat
from rpi_clusterhat.cli.parser import build_parser
from rpi_clusterhat.cluster import Cluster
from rpi_clusterhat.hardware.discovery import load

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_every_public_name_has_its_place() -> None:
    shown: list[str] = []
    for page in REFERENCE.glob("*.md"):
        shown += re.findall(r"^::: rpi_clusterhat\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted({*rpi_clusterhat.__all__} - {"Event", "PoolEvent"})


@pytest.mark.parametrize("module", ["nodes.probes", "waiting", "pool.balance", "pool.idle", "pool.activity"])
def test_every_name_of_what_a_pool_is_made_of_has_its_place(module: str) -> None:
    shown = re.findall(rf"^::: rpi_clusterhat\.{module}\.(\w+)$", _page("pool.md"), re.MULTILINE)
    names = import_module(f"rpi_clusterhat.{module}").__all__
    at_the_top = {*rpi_clusterhat.__all__, "Step"}  # Step is a union of others
    assert sorted(shown) == sorted({*names} - at_the_top)


@pytest.mark.parametrize("name", ["gpiod", "sysfs", "i2c", "sim"])
def test_every_option_of_a_backend_is_described(name: str) -> None:
    section = _page("backends.md").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    assert [row[0] for row in rows] == [option.name for option in load(name).options]


def test_every_setting_is_described() -> None:
    page = _page("settings.md")
    for name in inspect.signature(Cluster.open).parameters:
        assert f"`{name}=" in page, name


def test_every_command_is_described() -> None:
    text = build_parser().format_help()
    commands = re.findall(r"^    (\w+) ", text.partition("COMMAND\n")[2], re.MULTILINE)
    described = re.findall(r"^\| (?:`|<code>)([a-z]+)", _page("command.md"), re.MULTILINE)
    assert len(commands) > 10
    assert described[: len(commands)] == commands
    for code in re.findall(r"^  (\d+) ", text, re.MULTILINE):
        assert re.search(rf"^\|.*\b{code}\b.*\|", _page("command.md"), re.MULTILINE)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        needed += extra
    page = (ROOT / "docs" / "explanation" / "decisions.md").read_text(encoding="utf-8")
    for requirement in needed:
        name = re.split(r"[^\w-]", requirement)[0]
        assert name == "rpi-clusterhat" or re.search(rf"^\|[^|]*\b{name}\b[^|]*\|", page, re.MULTILINE), name
