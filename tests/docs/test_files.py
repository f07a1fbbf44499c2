"""The settings files and units that the pages show are valid."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rpi_clusterhat._names import parse_nodes
from rpi_clusterhat.cli.parser import parse
from rpi_clusterhat.hardware import boards
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR, Settings, load_settings

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


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_can_use_the_locks_that_all_share(name: str) -> None:
    text = (EXAMPLES / "systemd" / name).read_text(encoding="utf-8")
    assert re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE) == [DEFAULT_LOCK_DIR]
    (groups,) = re.findall(r"^SupplementaryGroups=(.*)$", text, re.MULTILINE)
    assert "gpio" in groups.split()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (EXAMPLES / "systemd" / name).read_text(encoding="utf-8")
        here = text.replace("/opt/rpi-clusterhat/bin/rpi-clusterhat", sys.executable)
        (tmp_path / name).write_text(here, encoding="utf-8")
    verify = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "clusterhat" in line]) == (0, [])
