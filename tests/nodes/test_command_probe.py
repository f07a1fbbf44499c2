"""Probes that run commands."""

from __future__ import annotations

import asyncio
import gc
import os
import select
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.nodes.probes import (
    CommandProbe,
    Probe,
    Verdict,
)
from tests.nodes.servers import (
    LONG,
    both,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@both
def test_commands(ask: Callable[[Probe], Verdict]) -> None:
    assert ask(CommandProbe("true")) == Verdict(True, "'true' ended with status 0")
    assert ask(CommandProbe("sh", "-c", "exit 3")) == Verdict(False, "'sh' ended with status 3")
    assert ask(CommandProbe("sh", "-c", "kill -9 $$")) == Verdict(False, "'sh' ended with signal 9")
    assert ask(CommandProbe("/no/such")) == Verdict(
        False, "'/no/such' cannot be run: no such file or directory"
    )
    assert ask(CommandProbe(os.curdir)) == Verdict(False, "'.' cannot be run: permission denied")


@both
def test_a_command_has_nothing_to_read_and_its_output_goes_nowhere(
    ask: Callable[[Probe], Verdict], capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(
        CommandProbe("sh", "-c", 'echo out; echo err >&2; test -z "$(cat)" && test \'*\' = "$1"', "sh", "*")
    )
    assert capfd.readouterr() == ("", "")


class Family:
    """A command that starts another and waits; whoever of them lives holds the pipe's end open."""

    def __init__(self, folder: Path) -> None:
        path = folder / "alive"
        os.mkfifo(path)
        self.end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.argv = ("sh", "-c", f"exec 9>{path}; sleep {LONG} & echo >&9; wait")

    def wait_for(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.end, event)
        assert poll.poll(LONG * 1000)

    def has_started(self) -> None:
        self.wait_for(select.POLLIN)
        assert os.read(self.end, 9) == b"\n"

    def is_gone(self) -> None:
        self.wait_for(0)  # nothing but the hang-up
        assert os.read(self.end, 9) == b""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    os.close(family.end)


@both
def test_at_its_time_out_a_command_is_killed_with_its_children(
    ask: Callable[[Probe], Verdict], family: Family
) -> None:
    assert ask(CommandProbe(*family.argv, timeout=0.5)) == Verdict(False, "no answer from 'sh' within 0.5 s")
    family.has_started()
    family.is_gone()


@both
def test_a_command_that_may_not_be_killed_is_left_to_itself(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def killpg(group: int, _signal: int) -> None:
        asked.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", killpg)

    def ask_and_forget() -> bool:
        verdict = ask(CommandProbe("sleep", str(LONG), timeout=0.02))
        gc.collect()
        return verdict.up

    with pytest.warns(ResourceWarning, match="still running"):
        assert not ask_and_forget()
    monkeypatch.undo()
    [group] = asked
    os.killpg(group, 9)
    os.waitpid(group, 0)


def test_a_cancelled_command_is_killed_with_its_children(family: Family) -> None:
    async def leave() -> None:
        task = asyncio.create_task(CommandProbe(*family.argv, timeout=LONG).aask())
        await asyncio.to_thread(family.has_started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    family.is_gone()
