"""Settings files, units and code that the pages show are valid, and the code is an example's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rpi_clusterhat.cli.parser import parse
from rpi_clusterhat.hardware import boards
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SETTINGS = sorted(path.name for path in (EXAMPLES / "settings").glob("*.toml"))
UNITS = sorted(path.name for path in (EXAMPLES / "systemd").glob("*.service"))
PYTHON = re.compile(r"^( *)```python\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def _settings(path: Path) -> Settings:
    return load_settings({}, config=str(path), env={}, vendor_file="/nowhere")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_settings_file_is_one(name: str) -> None:
    for said in _settings(EXAMPLES / "settings" / name).boards:
        if said.version is not None:
            boards.board(said.version, said.nodes or 4)
        assert said.backend is not None
        parse_options(said.backend, load(said.backend), said.options, said.options_where)


@pytest.mark.parametrize("name", UNITS)
def test_a_units_commands_are_commands(name: str) -> None:
    text = (EXAMPLES / "systemd" / name).read_text(encoding="utf-8")
    commands = re.findall(r"^Exec\w+=(.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program.endswith("/rpi-clusterhat")
        assert parse(arguments).command in ("on", "off")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=str)
def test_python_on_a_page_is_in_an_example(page: Path) -> None:
    """What runs is what is shown: code is included from an example, or is a part of one."""
    sources = [path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.py")]
    for indent, block in PYTHON.findall(page.read_text(encoding="utf-8")):
        code = re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        if included := re.fullmatch(r"--8<--\n(.*)\n--8<--\n", code):
            assert (EXAMPLES / included[1]).is_file()
        else:
            assert any(code in source for source in sources), code


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_page_outside_the_site_links_to_is_there(page: str) -> None:
    """The site's own links are checked when it is built."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / target).is_file(), target
