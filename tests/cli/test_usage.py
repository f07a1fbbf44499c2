"""What is asked wrongly: one line that says where and what is allowed, exit code 2, nothing touched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import __version__
from rpi_clusterhat.cli.parser import build_parser
from rpi_clusterhat.cli.wrong_words import GLOBAL_OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from tests.cli.conftest import Command

HAT = "--board 2.3"


def refused(command: Command, argv: str | list[str], *words: str) -> None:
    result = command(*(argv.split() if isinstance(argv, str) else argv))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("rpi-clusterhat: ")
    assert result.err.endswith("\n")
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        # commands and their arguments
        ("", ("COMMAND", "--help")),
        ("onn", ("'onn'", "on", "status", "backends")),
        ("On p1", ("'On'",)),
        (f"{HAT} status p1", ("'p1'", "status")),
        (f"{HAT} init p1", ("'p1'", "init")),
        (f"{HAT} off --wait", ("--wait", "off --help")),
        (f"{HAT} alert", ("action", "alert --help")),
        (f"{HAT} alert reset", ("'reset'", "on", "off")),
        (f"{HAT} hub toggle", ("'toggle'", "on", "off", "reset")),
        (f"{HAT} led ON", ("'ON'", "on", "off")),
        (f"{HAT} wp on off", ("'off'", "wp")),
        ("completion", ("shell", "completion --help")),
        ("completion csh", ("'csh'", "bash", "zsh")),
        ("version --verbose", ("--verbose", "version --help")),
        # options
        ("--bord 2.3 status", ("'--bord'", "did you mean --board?", "--spacing")),
        ("--boar 2.3 status", ("--boar", "--board")),
        (f"{HAT} on --hol p1", ("--hol", "on --help")),
        (f"{HAT} status --watc", ("--watc",)),
        ("status --board 9", ("--board", "'9'", "1.x, 2.x or 3.x")),
        (f"on p1 {HAT} --bord 2", ("--bord", "on --help")),
        ("--board", ("--board", "expected one argument")),
        ("--spacing", ("--spacing", "expected one argument")),
        (f"{HAT} status --watch 0", ("--watch", "0.1", "86400")),
        (f"{HAT} status --watch -1", ("-1",)),
        (f"{HAT} status --watch soon", ("--watch", "'soon'", "0.1")),
        (f"{HAT} status --watch nan", ("--watch", "'nan'")),
        # nodes
        (f"{HAT} on p5", ("'p5'", "p1 to p4", "p1,p3", "all")),
        (f"{HAT} on p0", ("'p0'", "p1 to p4")),
        (f"{HAT} off p1 px", ("'px'", "p1 to p4")),
        (f"{HAT} cycle p1,p9", ("'p9'", "p1 to p4")),
        (f"{HAT} on p[1-5]", ("p[1-5]", "p1 to p4")),
        (f"{HAT} on p[3-1]", ("p[3-1]", "backwards")),
        (f"{HAT} on p[1-", ("p[1-", "p1 to p4")),
        (f"{HAT} on p1-p3", ("'p1-p3'", "p[1-3")),
        # boards
        ("--board 9 status", ("--board", "'9'", "1.x, 2.x or 3.x")),
        ("--board 2 status", ("--board", "'2'", "such as 2.3")),
        ("--board 2.99 status", ("--board", "'2.99'")),
        ("--board two status", ("--board", "'two'")),
        # backends and their options
        (f"{HAT} --backend gpio status", ("'gpio'", "gpiod", "i2c", "sim", "sysfs")),
        (f"{HAT} --bus two status", ("--bus", "'two'", "0 to 1023", "/dev/i2c-1")),
        (f"{HAT} --bus 1024 status", ("--bus", "1024", "0 to 1023")),
        (f"{HAT} --bus -1 status", ("--bus",)),
        (f"{HAT} --address 0x78 status", ("--address", "'0x78'", "0x20 to 0x27")),
        (f"{HAT} --address x20 status", ("--address", "'x20'", "0x20 to 0x27")),
        (f"{HAT} -o bus=two status", ("(from -o)", "bus: 'two'", "0 to 1023")),
        (f"{HAT} -o bus status", ("-o", "'bus'", "KEY=VALUE")),
        (f"{HAT} -o =1 status", ("-o", "'=1'", "KEY=VALUE")),
        (f"{HAT} -o buss=1 status", ("-o", "'buss'", "bus, address")),
        ("--backend sim --bus 1 status", ("'bus'", "sim", "(from --bus)")),
        ("--backend sim -o fault=p1:mood status", ("(from -o)", "fault: 'p1:mood'", "no-boot")),
        ("--backend sim -o holds=maybe status", ("(from -o)", "holds: 'maybe'", "yes or no")),
        # spacing
        (f"{HAT} --spacing x status", ("--spacing", "'x'", "0 to 3600")),
        (f"{HAT} --spacing -1 status", ("--spacing",)),
        (f"{HAT} --spacing nan status", ("--spacing", "'nan'", "0 to 3600")),
        (f"{HAT} --spacing 3601 status", ("--spacing", "'3601'", "0 to 3600")),
    ],
)
def test_wrong_words(command: Command, expander: FakeExpander, argv: str, words: tuple[str, ...]) -> None:
    refused(command, argv, *words)
    assert expander.transactions == expander.reads  # at most looked at
    assert expander.writes == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--board", "", "status"], ("--board", "''")),
        (["--backend", " ", "status"], ("--backend", "' '")),
        (["--config", "", "status"], ("--config", "not empty")),
        (["--backend", "sim", "on", ""], ("''", "p1 to p4")),
        (["--backend", "sim", "on", " , "], ("' , '", "p1 to p4")),
        (["--backend", "sim", "on", "p1\np9"], ("'p9'", "p1 to p4")),
        (["two\nlines"], ("two", "lines")),
        (["--backend", "sim", "on", "pé\udcff"], ("p1 to p4",)),
    ],
)
def test_words_that_a_shell_can_make(command: Command, argv: list[str], words: tuple[str, ...]) -> None:
    refused(command, argv, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bord = '2.3'", ("'bord'", "board", "backend", "spacing")),
        ("board = 2.3", ("board", '"2.3"')),
        ("board = '7.1'", ("board", "'7.1'", "1.x, 2.x or 3.x")),
        ("board = '2.3'\nspacing = 'soon'", ("spacing", "'soon'", "0 to 3600")),
        ("board = '2.3'\nnodes = 'many'", ("nodes", "'many'")),
        ("board = '2.3'\noptions = 3", ("options", "table")),
        ("board = '2.3'\noptions = {bus = 'x'}", ("options.bus", "bus: 'x'", "0 to 1023")),
        ("board = '2.3'\noptions = {speed = 1}", ("options", "'speed'", "bus, address")),
        ("boards = []", ("boards", "at least one")),
        ("[[boards]]\nbord = '2.3'", ("board 1", "'bord'", "backend")),
        ("board = ", ("not TOML",)),
        ("backend = 'nothing'", ("'nothing'", "gpiod", "i2c")),
    ],
)
def test_wrong_settings_files(
    command: Command, expander: FakeExpander, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    where = () if "nothing" in text else (str(file),)
    refused(command, ["--config", str(file), "status"], *words, *where)
    assert expander.transactions == 0


def test_a_settings_file_that_is_not_there(command: Command, tmp_path: Path) -> None:
    refused(command, ["--config", str(tmp_path / "none.toml"), "status"], str(tmp_path / "none.toml"))
    refused(command, ["--config", str(tmp_path), "backends"], str(tmp_path), "Cannot read", "(from --config)")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SPACING", "soon", ("0 to 3600",)),
        ("BOARD", "7.1", ("1.x, 2.x or 3.x",)),
        ("OPTIONS", "bus", ("KEY=VALUE",)),
        ("OPTIONS", "'", ()),
    ],
)
def test_wrong_variables(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv(f"RPI_CLUSTERHAT_{name}", value)
    refused(command, "status", f"RPI_CLUSTERHAT_{name}", *words)


def test_the_command_line_counts_before_the_settings_file(
    command: Command, expander: FakeExpander, settings: Path
) -> None:
    settings.write_text("board = '7.1'\nspacing = 9.0\noptions = {bus = 3}\n")
    expander.output, expander.direction = 0x90, 0x00
    assert command("--board", "2.3", "--spacing", "1", "--bus", "2", "on", "p1", "p2").code == 0
    assert command.clock.sleeps == pytest.approx([1.0])


def test_the_settings_file_is_used(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("backend = 'sim'\nboard = '3.1'\n")
    assert command("--config", str(tmp_path / "mine.toml"), "status").out.startswith("Cluster HAT 3.1")


def test_options_may_be_repeated_and_the_last_counts(command: Command) -> None:
    argv = "--backend sim -o set_up=no -o pos=off -o pos=on status"
    result = command(*argv.split())
    assert (result.code, result.out.count(" on     on\n")) == (0, 4)


def test_no_hat_found(command: Command, tmp_path: Path) -> None:
    result = command("status")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "--board 2.3" in result.err


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["-h", "status"], ["--board", "2.3", "--help"]])
def test_help(command: Command, argv: list[str]) -> None:
    result = command(*argv)
    assert (result.code, result.err) == (0, "")
    for word in ("exit codes:", "130", "--backend", "--spacing", "completion", "status", "cycle"):
        assert word in result.out


def test_the_options_that_errors_list_are_those_there_are() -> None:
    listed = re.findall(r"^  (?=-).*?(--\w+)", build_parser().format_help(), re.MULTILINE)
    assert sorted(listed) == sorted(GLOBAL_OPTIONS)


@pytest.mark.parametrize(
    "name",
    [
        *("on", "off", "cycle", "status", "setup", "init", "alert", "led", "hub", "wp"),
        *("backends", "boards", "version", "completion"),
    ],
)
def test_help_of_each_command(command: Command, name: str) -> None:
    result = command(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"usage: rpi-clusterhat {name}")


@pytest.mark.parametrize("argv", ["version", "--version"])
def test_version(command: Command, argv: str) -> None:
    assert command(argv) == (0, f"rpi-clusterhat {__version__}\n", "")


def test_a_mistake_of_ours_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("what\nelse")

    monkeypatch.setattr("rpi_clusterhat.cluster.Cluster.status", broken)
    result = command("--backend", "sim", "status")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "KeyError" in result.err
    assert "RPI_CLUSTERHAT_DEBUG=1" in result.err
    monkeypatch.setenv("RPI_CLUSTERHAT_DEBUG", "1")
    with pytest.raises(KeyError):
        command("--backend", "sim", "status")
