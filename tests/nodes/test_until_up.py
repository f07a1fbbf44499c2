"""A wait that asks a probe until the node is up."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.nodes.probes import (
    HttpProbe,
    Probe,
    TcpProbe,
    Verdict,
    await_until_up,
    wait_until_up,
)
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat.waiting import Sleep
from tests.nodes.servers import (
    LONG,
    Server,
    until_it_leaves,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.waiting import Step


class Scripted(Probe):
    """Takes its times and gives its answers in turn, the last one from then on; keeps to the time left."""

    def __init__(self, clock: FakeClock, script: list[tuple[float, bool]]) -> None:
        self.clock, self.script = clock, script
        self.attempts: list[tuple[float, float, bool]] = []
        """When each began and ended, and whether the node was up."""

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        began = self.clock.now()
        takes, up = self.script[min(len(self.attempts), len(self.script) - 1)]
        up = up and takes <= left()
        yield Sleep(min(takes, left()))
        self.attempts.append((began, self.clock.now(), up))
        return Verdict(up, f"attempt {len(self.attempts)}")


EIGHTHS = st.integers(0, 24).map(lambda n: n / 8)  # exact in binary
SCRIPTS = st.lists(st.tuples(EIGHTHS, st.booleans()), min_size=1, max_size=12)


@given(SCRIPTS, EIGHTHS.map(lambda t: 2 * t + 0.125), EIGHTHS.filter(bool), EIGHTHS)
def test_waiting(
    script: list[tuple[float, bool]], timeout: float, interval: float, ready_after: float
) -> None:
    clock, other = FakeClock(start=0.0), FakeClock(start=0.0)
    probe, again = Scripted(clock, script), Scripted(other, script)
    arguments = {"timeout": timeout, "interval": interval, "ready_after": ready_after}
    verdict = wait_until_up(probe, clock=clock, **arguments)

    attempts = probe.attempts
    assert attempts[0][0] == 0
    for (began, ended, _), (next_began, _, _) in itertools.pairwise(attempts):
        assert next_began == max(began + interval, ended)
    assert all(began < timeout and ended <= timeout for began, ended, _ in attempts)
    settled: list[bool] = []
    for i, (_, ended, up) in enumerate(attempts):
        run = i
        while run > 0 and attempts[run - 1][2] and up:
            run -= 1
        settled.append(up and ended - attempts[run][1] >= ready_after)
    assert settled == [False] * (len(attempts) - 1) + [verdict.up]
    began, ended, up = attempts[-1]
    if not verdict.up:
        assert max(began + interval, ended) >= timeout
        settling = f", but not yet for {ready_after:g} s" if up else ""
        assert verdict.reason == f"attempt {len(attempts)}{settling} (tried for {ended:.3g} s)"
    assert clock.now() == ended

    assert asyncio.run(await_until_up(again, clock=other, **arguments)) == verdict
    assert again.attempts == attempts


def test_waiting_without_end() -> None:
    clock = FakeClock()
    probe = Scripted(clock, [(0.0, False)] * 5000 + [(0.0, True)])
    assert wait_until_up(probe, timeout=math.inf, interval=1.0, clock=clock)
    assert len(probe.attempts) == 5001


def test_a_wait_in_the_event_loop_lets_others_work() -> None:
    clock = FakeClock(start=0.0)
    probe = Scripted(clock, [(0.0, False)])
    seen: list[float] = []

    async def other() -> None:
        for _ in range(3):
            await clock.asleep(0.25)
            seen.append(clock.now())

    async def both() -> None:
        waiting = await_until_up(probe, timeout=1.0, interval=0.5, clock=clock)
        await asyncio.gather(waiting, other())

    asyncio.run(both())
    assert seen == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 0.0},
        {"timeout": -1.0},
        {"timeout": math.nan},
        {"interval": 0.0},
        {"interval": math.inf},
        {"ready_after": -0.1},
        {"ready_after": math.inf},
    ],
    ids=str,
)
def test_a_wait_that_makes_no_sense(arguments: dict[str, Any]) -> None:
    [name] = arguments
    probe = Scripted(FakeClock(), [(0.0, True)])
    kwargs: dict[str, Any] = {"timeout": 1.0, **arguments}
    with pytest.raises(SettingError, match=f"^Invalid value for {name}: .*: expected seconds"):
        wait_until_up(probe, **kwargs)
    assert probe.attempts == []


class BootClock(FakeClock):
    """During whose third sleep a node comes up."""

    def __init__(self, boot: Callable[[], object]) -> None:
        super().__init__(start=0.0)
        self._boot = boot

    def _sleeps(self) -> None:
        if len(self.sleeps) == 2:
            self._boot()

    def sleep(self, seconds: float) -> None:
        self._sleeps()
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self._sleeps()
        await super().asleep(seconds)


@pytest.mark.parametrize("wait", ["blocking", "in a loop"])
def test_a_node_that_comes_up(wait: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        clock = BootClock(listener.listen)
        arguments: dict[str, Any] = {"timeout": 60.0, "interval": 0.25, "ready_after": 0.5, "clock": clock}
        probe = TcpProbe("127.0.0.1", port)
        verdict = (
            wait_until_up(probe, **arguments)
            if wait == "blocking"
            else asyncio.run(await_until_up(probe, **arguments))
        )
        assert verdict == Verdict(True, f"connected to 127.0.0.1:{port}")
        assert clock.sleeps == [0.25] * 5


def test_no_attempt_takes_more_than_what_is_left() -> None:
    with Server(until_it_leaves) as server:
        probe = HttpProbe("127.0.0.1", server.port, timeout=LONG)
        verdict = wait_until_up(probe, timeout=0.1)
    where = f"127.0.0.1:{server.port}"
    assert verdict.reason.startswith(f"no answer from {where} within 0.1 s (tried for 0.")
