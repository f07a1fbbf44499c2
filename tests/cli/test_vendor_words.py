"""Whoever types a command of the vendor's tool is told what it is, and what to do here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.cli.vendor_words import WORDS

if TYPE_CHECKING:
    from tests.cli.conftest import Command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "clusterctrl.md"

COMMANDS = {
    *("help", "on", "off", "status", "maxpi", "init", "alert", "led", "hub", "wp", "usbboot", "fan", "act"),
    *("save", "saveorder", "saveusbboot", "savepos", "savedefaults", "setorder", "getpath", "reset"),
}
"""All that the vendor's tool has, from its source."""


def explained(command: Command, argv: str) -> str:
    result = command(*argv.split())
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    return result.err


def test_each_command_of_the_vendors_tool_is_one_here_or_is_explained(command: Command) -> None:
    for word in sorted(COMMANDS):
        if word in WORDS:
            assert explained(command, word).startswith(
                f"rpi-clusterhat: '{word}' of the vendor's clusterctrl "
            )
        else:
            assert command(word, "--help").code == 0
    assert set(WORDS) < COMMANDS


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "argv",
    ["{}", "{} on", "{} off p1 p2", "{} 20 21", "on {}", "status {}", "--spacing 2 {} on", "{} --json"],
)
def test_it_is_explained_wherever_a_person_types_it(
    command: Command, sim: Path, word: str, argv: str
) -> None:
    does, instead = WORDS[word]
    assert explained(command, argv.format(word)).endswith(f" {does}; here, {instead}\n")
    assert not sim.exists()


@pytest.mark.parametrize(
    "argv", ["--backend fan status", "--config fan status", "-o state=fan --board fan status"]
)
def test_the_value_of_an_option_is_no_command(command: Command, argv: str) -> None:
    assert "clusterctrl" not in explained(command, argv)


@pytest.mark.parametrize("argv", ["alert on p1", "led off p1", "hub reset p1 p2", "wp on p4"])
def test_what_is_the_boards_takes_no_nodes(command: Command, sim: Path, argv: str) -> None:
    name, _, node, *_ = argv.split()
    assert f"{name} takes no '{node}': it is for the whole board" in explained(command, argv)
    assert not sim.exists()


@pytest.mark.parametrize("argv", ["on", "off"])
def test_no_node_is_not_all(command: Command, sim: Path, argv: str) -> None:
    assert 'no node is named: name nodes, such as p1 or p1,p3, or say "all"' in explained(command, argv)


def test_the_command_comes_first(command: Command) -> None:
    assert "the command comes first, as in 'rpi-clusterhat off all'" in explained(command, "all off")
    assert "did you mean status?" in explained(command, "statsu")


def test_what_is_said_to_do_here_can_be_done(command: Command) -> None:
    named = [text for _, instead in WORDS.values() for text in re.findall(r"'rpi-clusterhat (.+?)'", instead)]
    assert len(named) >= 4
    for text in named:
        first = text.split()[0]
        assert first == "--help" or command(first, "--help").code == 0


def test_the_page_has_the_same_words() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("`", "'")
    rows = re.findall(r"^\| 'clusterctrl (\w+)' \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    generated = {word: (does, instead) for word, does, instead in rows if word in WORDS}
    assert generated == {word: tuple(found) for word, found in WORDS.items()}
    others = {found.split()[0] for found in re.findall(r"'clusterctrl ([\w ]+)'", page)}
    assert COMMANDS - {"help"} <= others
