"""Processes on the controller: what is read of them, what is written to them, and how they end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.nodes.process import Process, Tail
from rpi_clusterhat.waiting import drive, drive_async
from tests.nodes.servers import LONG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rpi_clusterhat.waiting import Steps


def _in_a_loop(steps: Steps[Any]) -> Any:
    return asyncio.run(drive_async(steps))


ways = pytest.mark.parametrize("run", [drive, _in_a_loop])


def _collect(argv: Sequence[str], seconds: float = LONG, fed: bytes | None = None) -> Steps[Any]:
    deadline = SYSTEM.now() + seconds
    output, most = b"", 0
    with Process(argv, output=True, fed=fed is not None) as process:
        taken = None if fed is None else (yield from process.feed(fed, deadline))
        while data := (yield from process.more(deadline)):
            output, most = (output + data)[-100:], most + len(data)
    return process.status, output, most, taken


@ways
def test_both_streams_are_read_as_one_to_the_end(run: Any) -> None:
    got = run(_collect(["sh", "-c", "echo 1; echo 2 >&2; sleep 0.05; echo 3; exit 4"]))
    assert got == (4, b"1\n2\n3\n", 6, None)


@ways
def test_standard_error_alone_can_be_dropped(run: Any) -> None:
    def steps() -> Steps[bytes]:
        output = b""
        with Process(["sh", "-c", "echo 1; echo 2 >&2; echo 3"], output=True, errors=False) as process:
            while data := (yield from process.more(SYSTEM.now() + LONG)):
                output += data
        return output

    assert run(steps()) == b"1\n3\n"


@ways
def test_what_is_written_to_it_is_all_of_its_input(run: Any) -> None:
    much = bytes(range(256)) * 4096
    status, output, size, taken = run(_collect(["sh", "-c", "cat >/dev/null; sleep 0.02; cat"], fed=much))
    assert (status, output, size, taken) == (0, b"", 0, True)
    assert run(_collect(["wc", "-c"], fed=much)) == (0, b"1048576\n", 8, True)


@ways
def test_one_that_takes_no_input_or_closes_it_is_no_error(run: Any) -> None:
    assert run(_collect(["true"], fed=bytes(1 << 20)))[3] is False
    assert run(_collect(["sleep", str(LONG)], seconds=0.1, fed=bytes(1 << 20))) == (-9, b"", 0, False)


@ways
def test_a_flood_ends_at_the_deadline(run: Any) -> None:
    began = SYSTEM.now()
    status, _, size, _ = run(_collect(["sh", "-c", "yes & yes"], seconds=0.2))
    assert SYSTEM.now() - began < LONG / 2
    assert status == -9
    assert size > 100_000


@ways
def test_a_child_that_outlives_it_is_not_waited_for(run: Any, tmp_path: Path) -> None:
    end = tmp_path / "pid"
    script = f"sleep {LONG} & echo $! > {end}; echo done"
    assert run(_collect(["sh", "-c", script])) == (0, b"done\n", 5, None)
    os.kill(int(end.read_text()), 9)
    flood = f"yes & echo $! > {end}"
    began = SYSTEM.now()
    assert run(_collect(["sh", "-c", flood]))[0] == 0
    assert SYSTEM.now() - began < LONG / 2
    os.kill(int(end.read_text()), 9)


def test_a_flood_leaves_an_event_loop_free() -> None:
    async def main() -> None:
        flood = asyncio.ensure_future(drive_async(_collect(["yes"], seconds=0.3)))
        turns = 0
        while not flood.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 20

    asyncio.run(main())


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_a_tail_keeps_the_newest(pieces: list[bytes], most: int) -> None:
    tail = Tail(most)
    for piece in pieces:
        tail.add(piece)
    whole = b"".join(pieces)
    assert tail.is_complete is (len(whole) <= most)
    assert tail.text == whole[-most:].decode(errors="replace").replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("output", "line"),
    [(b"", ""), (b"\n \n", ""), (b"one\ntwo\x1b[0m\r\n\x07\n", "two[0m"), (b"only", "only")],
)
def test_the_last_line(output: bytes, line: str) -> None:
    tail = Tail(100)
    tail.add(output)
    assert tail.last_line == line
