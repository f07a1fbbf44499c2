"""Wrong calls and settings of a scheduler, and its end."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    LeaseInUseError,
    NodeNameError,
    PoolClosedError,
    PoolError,
    QueueFullError,
    SettingError,
)
from rpi_clusterhat.events import BootFinished, BootStarted, PoolEvent
from rpi_clusterhat.pool.queue import LeaseRequest
from rpi_clusterhat.pool.scheduler import Scheduler
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.pool.states import PoolState
from rpi_clusterhat.testing import FakeClock
from tests.pool.desk import Client, Desk

if TYPE_CHECKING:
    from collections.abc import Callable


# Misuse -------------------------------------------------------------------------------------------------


def test_a_second_ask_raises_and_changes_nothing() -> None:
    desk = Desk(1, maxconn=2)
    waits = desk.ask()
    queued = [desk.ask() for _ in range(2)][-1]
    for client in (waits, queued):
        before = (desk.core.waiting, desk.node("p1").in_flight, client.node, client.number)
        with pytest.raises(LeaseInUseError, match="release it, or take another lease"):
            desk.core.ask(client)
        assert (desk.core.waiting, desk.node("p1").in_flight, client.node, client.number) == before
    desk.boot("p1")
    with pytest.raises(LeaseInUseError):
        desk.core.ask(waits)
    assert (waits.answers, desk.node("p1").leases, desk.core.waiting) == (1, 2, 1)
    desk.core.release(waits)
    assert (queued.answers, desk.node("p1").leases, desk.core.waiting) == (1, 2, 0)
    desk.core.release(queued)
    assert desk.core.ask(queued)  # after a release it may be asked again
    assert desk.node("p1").leases == 2


def test_one_that_was_refused_may_ask_again() -> None:
    desk = Desk(queue=0)
    client = Client()
    for _ in range(2):
        with pytest.raises(QueueFullError):
            desk.core.ask(client)
    desk.up("p1")
    assert desk.core.ask(client)


def test_names_that_are_none() -> None:
    desk = Desk()
    for call in (desk.core.wake, desk.core.power_off, desk.core.due_at):
        with pytest.raises(NodeNameError, match=r"'p9' is no node of this pool: it has p1, p2"):
            call("p9")
    assert desk.actions() == []


def test_a_subscriber_that_raises_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(1)

    def fail(_: PoolEvent) -> None:
        raise ZeroDivisionError("a subscriber's mistake")

    late: list[PoolEvent] = []
    unsubscribe = desk.core.subscribe(fail)
    desk.core.subscribe(late.append)
    with caplog.at_level(logging.CRITICAL + 1, "rpi_clusterhat"):
        client = desk.ask()
        desk.boot("p1")
    assert (client.answers, desk.node("p1").state) == (1, PoolState.READY)
    assert late == desk.events == [BootStarted("p1", "lease"), BootFinished("p1", 0.0, "lease")]
    with caplog.at_level(logging.ERROR, "rpi_clusterhat"):
        desk.core.lost("p1")
    assert "a subscriber failed on PoweredOff(node='p1'" in caplog.text
    unsubscribe()
    unsubscribe()
    caplog.clear()
    desk.core.wake("p1")
    assert caplog.text == ""


# The end ------------------------------------------------------------------------------------------------


def test_closing_tells_all_who_wait() -> None:
    desk = Desk()
    waiting = [desk.ask(), desk.ask("p1"), desk.ask(), desk.ask()]
    desk.core.refuse_waiting()
    for client in waiting:
        assert client.answers == 1
        assert isinstance(client.error, PoolClosedError)
        desk.core.release(client)
    assert desk.core.waiting == 0
    with pytest.raises(PoolClosedError) as refused:
        desk.ask()
    assert refused.value.retry_after is None
    assert not desk.core.wake("p2")


def test_a_claim_without_an_ending_of_its_own_is_only_kept() -> None:
    desk = Desk()
    claim = LeaseRequest()
    assert not desk.core.ask(claim)
    desk.boot("p1")
    assert claim.pooled_node is desk.node("p1")
    assert repr(desk.node("p1")) == "<PooledNode p1 ready leases=1 assigned=0>"


# Settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"maxconn": 0}, "Invalid value for maxconn: 0: expected a whole number from 1 to 1000000"),
        ({"maxconn": 1.5}, "Invalid value for maxconn: 1.5: expected a whole number from 1 to 1000000"),
        ({"maxconn": True}, "Invalid value for maxconn: True: expected a whole number from 1 to 1000000"),
        ({"queue": -1}, "Invalid value for queue: -1: expected a whole number from 0 to 1000000"),
        ({"queue": "9"}, "Invalid value for queue: '9': expected a whole number from 0 to 1000000"),
        ({"queue_timeout": 0}, "Invalid value for queue_timeout: 0: expected seconds, above 0"),
        ({"boot_timeout": math.inf}, "Invalid value for boot_timeout: inf: expected seconds, above 0"),
        ({"boot_timeout": "x"}, "Invalid value for boot_timeout: 'x': expected seconds, above 0"),
        ({"redispatch": 3}, "Invalid value for redispatch: 3: expected True or False"),
        ({"probe_interval": math.nan}, "Invalid value for probe_interval: nan: expected seconds, above 0"),
        ({"ready_after": -1.0}, "Invalid value for ready_after: -1.0: expected seconds, 0 or more"),
        (
            {"retry_after_failure": True},
            "Invalid value for retry_after_failure: True: expected seconds, 0 or more",
        ),
        ({"boot_estimate": None}, "Invalid value for boot_estimate: None: expected seconds, 0 or more"),
        (
            {"balance": "best"},
            "Invalid value for balance: 'best': expected one of random, roundrobin, leastconn, first, hash",
        ),
        (
            {"idle_timeout": -1},
            "Invalid value for idle_timeout: -1: expected seconds, a number from 0 to 1e+12 or inf",
        ),
        (
            {"min_on_time": math.inf},
            "Invalid value for min_on_time: inf: expected seconds, a number from 0 to 1e+12",
        ),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError) as wrong:
        Scheduler(["p1"], PoolSettings(**changes), FakeClock().now)
    assert str(wrong.value) == text


def test_the_smallest_and_the_default_settings_are_taken() -> None:
    least: dict[str, Any] = {
        "queue": 0,
        "maxconn": 1,
        "ready_after": 0,
        "retry_after_failure": 0,
        "idle_timeout": 0,
    }
    assert PoolSettings(**least).replaced(**least) == PoolSettings(**least)
    assert (PoolSettings().balance, PoolSettings().idle_timeout) == ("random", 600.0)


def test_every_refusal_is_a_pool_error() -> None:
    refusals: list[Callable[[], object]] = [
        lambda: Desk(queue=0).ask(),
        lambda: Desk().ask(passive=True),
        lambda: Desk().ask(exclude={"p1", "p2"}),
    ]
    for refusal in refusals:
        with pytest.raises(PoolError):
            refusal()
