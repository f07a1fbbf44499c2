"""The settings files and units that the pages show are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rpi_clusterhat._names import parse_nodes
from rpi_clusterhat.cli.parser import parse
from rpi_clusterhat.hardware import boards
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SETTINGS = sorted(path.name for path in (EXAMPLES / "settings").glob("*.toml"))
UNITS = sorted(path.name for path in (EXAMPLES / "systemd").glob("*.service"))


def _settings(path: Path) -> Settings:
    return load_settings({}, config=str(path), env={}, vendor_file="/nowhere")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_settings_file_is_one(name: str) -> None:
    for said in _settings(EXAMPLES / "settings" / name).boards:
        if said.version is not None:
            boards.board(said.version, said.nodes or 4)
        assert said.backend is not None
        parse_options(said.backend, load(said.backend), said.options, said.option_origins)


@pytest.mark.parametrize("name", UNITS)
def test_a_units_commands_are_commands(name: str) -> None:
    text = (EXAMPLES / "systemd" / name).read_text(encoding="utf-8")
    commands = re.findall(r"^Exec\w+=(.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program.endswith("/rpi-clusterhat")
        args = parse(arguments)
        assert args.command in ("on", "off")
        assert parse_nodes(args.nodes, ["p1", "p2"])
