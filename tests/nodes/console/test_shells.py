"""Commands on real shells, each on a terminal of its own."""

from __future__ import annotations

import asyncio
import random

import pytest

from rpi_clusterhat.errors import CommandTimeoutError, SettingError
from rpi_clusterhat.nodes.console.states import ConsoleState
from rpi_clusterhat.nodes.finished import Finished

from .nodes import SHELLS, aconsole, console, shell

pytestmark = pytest.mark.slow

every_shell = pytest.mark.parametrize("name", SHELLS)


@every_shell
def test_output_and_status(name: str) -> None:
    with shell(name) as node, console(node) as talk:
        assert talk.look() is ConsoleState.SHELL
        assert talk.run("echo one; echo two >&2; exit 3") == Finished(3, "one\ntwo\n")
        assert talk.run("printf 'no end of line'") == Finished(0, "no end of line")
        assert talk.run("true") == Finished(0, "")
        assert talk.run("no-such-command").status == 127
        assert talk.run("kill -9 $$") == Finished(137, "")
        assert talk.look() is ConsoleState.SHELL
    assert b"\x03" not in node.typed


@every_shell
def test_words_reach_the_command_as_they_are(name: str) -> None:
    words = [
        "a b", "$HOME", "`id`", "$(id)", "*", "~", "'", '"', "\\", "\\n", "%s%%", "!!", "!x", "#", ";", "&",
        "|", ">x", "\t", "\n", "\r", "\x15\x03\x04\x1a\x1b[A\x7f", "ü€😀", "-n", "", " ", "^a^b", "{a,b}",
        "=ls", "\x0e\x16",
    ]  # fmt: skip
    dump = 'for w; do printf "%s" "$w" | od -An -tx1 -v; echo .; done'
    with shell(name) as node, console(node) as talk:
        shown = talk.run(["/bin/sh", "-c", dump, "sh", *words])
        found = ["".join(word.split()) for word in shown.output.split(".\n")[:-1]]
        assert found == [word.encode().hex() for word in words]


@every_shell
def test_a_command_of_many_lines_of_a_terminal(name: str) -> None:
    text = "".join(random.Random(5).choices("abc'\"\\ $`!\t\n%ü", k=20_000))
    with shell(name) as node, console(node) as talk:
        done = talk.run(["printf", "%s", text])
        assert done == Finished(0, text)
        assert max(map(len, node.typed.splitlines())) < 1000


@every_shell
def test_a_command_that_does_not_end_is_interrupted(name: str) -> None:
    with shell(name) as node, console(node) as talk:
        with pytest.raises(
            CommandTimeoutError,
            match=r"'echo' did not end within 2 s .* and was interrupted; its last line: 'begun'",
        ):
            talk.run("echo begun; sleep 60", timeout=2)
        assert talk.run("echo next") == Finished(0, "next\n")


@pytest.mark.parametrize("name", ["bash", "busybox"])
def test_one_that_ignores_it_is_ended_otherwise(name: str) -> None:
    with shell(name) as node, console(node) as talk:
        with pytest.raises(CommandTimeoutError):
            talk.run("trap '' INT; while :; do sleep 60; done", timeout=0.5)
        assert talk.run("echo next") == Finished(0, "next\n")


@every_shell
@pytest.mark.parametrize("size", [(24, 20), (0, 0)])
def test_any_width(name: str, size: tuple[int, int]) -> None:
    with shell(name, size=size) as node, console(node) as talk:
        assert talk.run("echo " + "wide " * 100) == Finished(0, ("wide " * 100).rstrip() + "\n")


def test_in_an_event_loop() -> None:
    async def talk() -> None:
        with shell("bash") as node:
            async with aconsole(node) as talk:
                assert await talk.look() is ConsoleState.SHELL
                assert await talk.run("echo hi; exit 2") == Finished(2, "hi\n")
                task = asyncio.create_task(talk.run("sleep 60"))
                await asyncio.sleep(0.5)
                assert b"sleep" in node.typed
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await talk.run("echo next") == Finished(0, "next\n")

    asyncio.run(talk(), debug=True)


@pytest.mark.parametrize("command", ["", " ", "a\0b", [], [""], ["a", "b\0"], "x" * 65537, [1], 5, None])
def test_what_is_no_command(command: object) -> None:
    with shell("dash") as node, console(node) as talk:
        with pytest.raises(SettingError):
            talk.run(command)  # type: ignore[arg-type]
        assert node.typed == b""
