"""Consoles that flood, garble, hang up, fall silent, or have somebody else on them."""

from __future__ import annotations

import re
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ConsoleError, LoginError, NodeAccessError
from rpi_clusterhat.nodes.console.states import ConsoleState
from rpi_clusterhat.nodes.console.times import ConsoleTimes
from rpi_clusterhat.nodes.console.watch import Ending
from rpi_clusterhat.nodes.console.wire import Question
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.waiting import drive

from .nodes import console, getty, shell
from .wires import PYTHON, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

SHORT = ConsoleTimes(quiet=0.1, answer=0.5, login=3.0, look=2.0)


def program(code: str) -> Wire:
    """A node whose console a program of Python has."""
    return Wire([PYTHON, "-I", "-S", "-c", f"import os, sys, termios, tty\n{code}"])


FLOOD = "while True: os.write(1, b'y\\r\\n' * 500)"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (FLOOD, ConsoleState.BUSY),
        ("while True: os.write(1, b'y' * 1000)", ConsoleState.BUSY),
        ("while True: os.write(1, b'\\x1b[9999C\\x1b]0;' + b'\\xff' * 100)", ConsoleState.BUSY),
        ("while True: os.write(1, os.urandom(500))", None),
        ("while True: os.write(1, b'[   12.345678] usb 1-1: reset\\r\\n' * 20)", ConsoleState.BOOTING),
        ("tty.setraw(0)\nwhile True: os.read(0, 100)", ConsoleState.SILENT),
        ("tty.setraw(0)\nwhile True: os.read(0, 100); os.write(1, b'p1 lo')", ConsoleState.BUSY),
        (
            "while True: os.write(1, b'(or type Control-D to continue): '); os.read(0, 9)",
            ConsoleState.EMERGENCY,
        ),
        ("while True: os.write(1, b'(initramfs) '); os.read(0, 9)", ConsoleState.EMERGENCY),
        (
            "tty.setraw(0)\nos.write(1, b'[    1.234567] Booting\\r\\n')\nwhile True: os.read(0, 1)",
            ConsoleState.BOOTING,
        ),
    ],
)  # fmt: skip
def test_the_state_of_what_is_no_shell(code: str, state: ConsoleState | None) -> None:
    with program(code) as node, console(node, times=SHORT) as talk:
        began = SYSTEM.now()
        found = talk.look()
        assert state in {found, None}
        with pytest.raises(NodeAccessError):
            talk.login()
        assert SYSTEM.now() - began < 15


def test_output_without_end_is_bounded() -> None:
    with shell("dash") as node, console(node) as talk:
        done = talk.run("yes 0123456789 | head -c 3000000; echo end; exit 4")
        assert done.status == 4
        assert not done.is_complete
        assert done.output.endswith("end\n")
        assert 900_000 < len(done.output) <= 1 << 20
        tracemalloc.start()
        with pytest.raises(NodeAccessError, match="did not end within 2 s"):
            talk.run("yes", timeout=2)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
        tracemalloc.stop()
        assert talk.run("echo next") == Finished(0, "next\n")


def test_a_console_that_hangs_up_while_a_command_runs() -> None:
    with shell("dash") as node, console(node) as talk:
        talk.login()
        threading.Timer(0.5, node.hang_up).start()
        with pytest.raises(ConsoleError, match="hung up"):
            talk.run("echo begun; sleep 60")
        assert talk.has_hung_up
        assert "begun" in talk.last_lines()
        with pytest.raises(ConsoleError):
            talk.look()


def test_a_half_typed_line_is_not_run() -> None:
    for name in ("bash", "dash", "busybox", "zsh", "fish"):
        with shell(name) as node:
            node.write(b"exit 9")
            with console(node) as talk:
                assert talk.look() is ConsoleState.SHELL, name
                node.write(b"exit 9")
                assert talk.run("echo hi") == Finished(0, "hi\n"), name


def test_an_open_quotation_mark_is_left() -> None:
    with shell("bash") as node:
        node.write(b"echo 'half\n")
        with console(node) as talk:
            assert talk.run("echo hi") == Finished(0, "hi\n")


def _on_sight(what: bytes, do: Callable[[], object]) -> Callable[[bytes], bytes]:
    """Does something once the node says something."""
    left = [do]

    def change(data: bytes) -> bytes:
        if re.search(what, data) and left:
            left.pop()()
        return data

    return change


@pytest.mark.parametrize("sight", [rb"R\w{12}Z", rb"A\w{12}:0Z", rb"A\w{12}:1Z"], ids=repr)
@pytest.mark.parametrize("keys", [b"x", b"ls\n", b"'; exit\n"], ids=repr)
def test_somebody_else_types_in_between(sight: bytes, keys: bytes) -> None:
    nodes: list[Wire] = []
    with shell("bash", change=_on_sight(sight, lambda: nodes[0].write(keys))) as node:
        nodes.append(node)
        with console(node) as talk:
            text = "z" * 1000
            assert talk.run(["echo", text]) == Finished(0, f"{text}\n")


def test_what_a_program_that_was_killed_left_behind() -> None:
    question = Question("echo never", "0123456789ab")
    with shell("bash") as node:
        node.write(question.opening)
        assert until_said(node, b"R0123456789abZ")
        node.write(question.script)
        assert until_said(node, b"A0123456789ab:0Z")
        with console(node) as talk:
            assert talk.run("echo hi") == Finished(0, "hi\n")
    with shell("bash") as node:
        node.write(question.opening)
        assert until_said(node, b"R0123456789abZ")
        with console(node) as talk:
            assert talk.run("echo hi") == Finished(0, "hi\n")


def until_said(node: Wire, what: bytes) -> bool:
    end = SYSTEM.now() + 10
    while what not in node.said and SYSTEM.now() < end:
        SYSTEM.sleep(0.01)
    return what in node.said


def test_messages_of_the_kernel_in_between() -> None:
    def noisy(data: bytes) -> bytes:
        return data.replace(b"\n", b"\n[  123.456789] usb 1-1: new device\r\n")

    with shell("bash", change=noisy) as node, console(node) as talk:
        done = talk.run("echo one; exit 5")
        assert done.status == 5
        assert "one\n" in done.output


def test_marks_that_are_all_split_are_no_status() -> None:
    def splitting(data: bytes) -> bytes:
        return re.sub(rb"(E\w{6})(\w{6}:)", rb"\1[  123.4]\r\n\2", data)

    with (
        shell("bash", change=splitting) as node,
        console(node) as talk,
        pytest.raises(ConsoleError, match="exit status was lost"),
    ):
        talk.run("false")


def test_a_node_that_is_halted_is_watched_to_its_end() -> None:
    with shell("dash") as node, console(node) as talk:
        steps = talk.dialogue
        drive(steps.steps_send("sleep 0.3; printf '[   35.2] reboot: Power down\\n'", lambda: 10))
        seen = drive(steps.steps_watch(lambda: 10, 5))
        assert (seen.ending, seen.words) == (Ending.LAST_WORDS, "[   35.2] reboot: Power down")
        assert talk.run("echo hi") == Finished(0, "hi\n")
        drive(steps.steps_send("echo sorry; exit 3", lambda: 10))
        seen = drive(steps.steps_watch(lambda: 10, 5))
        assert (seen.ending, seen.status, seen.words) == (Ending.FAILED, 3, "sorry")
        drive(steps.steps_send("true", lambda: 10))
        seen = drive(steps.steps_watch(lambda: 10, 0.5))
        assert (seen.ending, seen.status) == (Ending.SILENT, 0)
        drive(steps.steps_send("while :; do echo .; sleep 0.1; done", lambda: 10))
        assert drive(steps.steps_watch(lambda: 1, 0.5)).ending is Ending.TIME_OUT
        threading.Timer(0.3, node.hang_up).start()
        assert drive(steps.steps_watch(lambda: 10, 5)).ending is Ending.HUNG_UP
        assert talk.has_hung_up
        assert talk.last_lines(1) == ["."]


def test_a_login_that_lets_nobody_in() -> None:
    with (
        getty(asks=False, user="pi", shell=["true"]) as node,
        console(node, times=SHORT) as talk,
        pytest.raises((LoginError, ConsoleError)),
    ):
        talk.login()
