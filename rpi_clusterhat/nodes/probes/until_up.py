"""Asks a probe again and again until the node is up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Sleep, drive, drive_async

from .probe import Probe, Verdict

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps


def wait_until_up(
    probe: Probe, *, timeout: float, interval: float = 0.1, ready_after: float = 0.0, clock: Clock = SYSTEM
) -> Verdict:
    """Waits until a node is up. Blocks, and may be called from any thread.

    Args:
        probe: Says whether the node is up.
        timeout: For how many seconds to try; ``math.inf`` for no limit.
        interval: Seconds between the starts of two attempts. After an attempt that takes longer, the next
            one starts at once.
        ready_after: For how many seconds the node must have answered without a failure in between.
        clock: Says what time it is, and waits.

    Returns:
        The last verdict. Where the time is over, ``up`` is False, and the reason says for how long was tried.

    Raises:
        SettingError: A time is invalid.
    """
    steps = steps_until_up(probe, timeout=timeout, interval=interval, ready_after=ready_after, clock=clock)
    return drive(steps, clock)


async def await_until_up(
    probe: Probe,
    *,
    timeout: float,  # noqa: ASYNC109  # on the clock given, not the event loop's
    interval: float = 0.1,
    ready_after: float = 0.0,
    clock: Clock = SYSTEM,
) -> Verdict:
    """Waits until a node is up, in the running event loop. Otherwise it is as `wait_until_up`."""
    steps = steps_until_up(probe, timeout=timeout, interval=interval, ready_after=ready_after, clock=clock)
    return await drive_async(steps, clock)


def steps_until_up(
    probe: Probe, *, timeout: float, interval: float = 0.1, ready_after: float = 0.0, clock: Clock = SYSTEM
) -> Steps[Verdict]:
    """Returns the steps of `wait_until_up`, for code that is itself a generator of steps."""
    validate.instance("probe", probe, Probe, "a probe, such as TcpProbe('p1.local', 22)")
    if timeout != math.inf:
        validate.seconds("timeout", timeout, above=True)
    validate.seconds("interval", interval, above=True)
    validate.seconds("ready_after", ready_after)
    start = clock.now()
    end = start + timeout
    up_since: float | None = None
    while True:
        began = clock.now()
        verdict = yield from probe.steps(lambda: end - clock.now())
        now = clock.now()
        if not verdict.up:
            up_since = None
        elif now - (up_since := now if up_since is None else up_since) >= ready_after:
            return verdict
        again = max(now, began + interval)
        if again >= end:
            settling = f", but not yet for {ready_after:g} s" if verdict.up else ""
            return Verdict(False, f"{verdict.reason}{settling} (tried for {now - start:.3g} s)")
        if again > now:
            yield Sleep(again - now)
