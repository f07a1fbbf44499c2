"""When a request is sent again: pure decisions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from clusterhat_proxy.forward import BadAnswerError, NodeError
from clusterhat_proxy.retry import Retry

REPEATABLE = cast("Any", SimpleNamespace(repeatable=True, kept=True))
KEPT = cast("Any", SimpleNamespace(repeatable=False, kept=True))
GONE = cast("Any", SimpleNamespace(repeatable=False, kept=False))


def retry(*answered: str) -> Retry:
    return Retry(cast("Any", SimpleNamespace(answered=set(answered))), 50.0)


@pytest.mark.parametrize(
    ("error", "answered", "boots"),
    [
        (NodeError("", silent=True), [], True),
        (NodeError("", silent=True), ["p2"], True),
        (NodeError("", silent=True), ["p1"], False),
        (NodeError("", silent=True, stale=True), [], False),
        (NodeError("within the head"), [], False),
        (BadAnswerError(""), [], False),
    ],
)
def test_what_is_known_of_a_node_that_said_nothing(
    error: NodeError, answered: list[str], boots: bool
) -> None:
    assert retry(*answered).is_still_booting("p1", error) is boots


def test_attempts_with_one_node_wait_for_each_other() -> None:
    one = retry()
    error = NodeError("", silent=True)
    pauses = [one.pause(KEPT, error, boots=True, elsewhere=False) for _ in range(8)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5]


def test_a_node_that_has_answered_is_tried_three_times_in_all() -> None:
    one = retry("p1")
    error = NodeError("", silent=True)
    assert [one.pause(REPEATABLE, error, boots=False, elsewhere=False) for _ in range(3)] == [0.05, 0.1, None]


def test_another_node_and_another_connection_are_tried_at_once() -> None:
    one = retry("p1")
    assert one.pause(REPEATABLE, NodeError(""), boots=False, elsewhere=True) == 0.0
    assert one.pause(REPEATABLE, NodeError("", stale=True), boots=False, elsewhere=False) == 0.0


@pytest.mark.parametrize(
    ("error", "forward", "boots"),
    [
        (NodeError(""), KEPT, False),
        (NodeError("", silent=True), GONE, True),
        (BadAnswerError(""), REPEATABLE, False),
    ],
)
def test_what_must_not_be_sent_again(error: NodeError, forward: Any, boots: bool) -> None:
    assert retry().pause(forward, error, boots=boots, elsewhere=False) is None


def test_what_never_left_may_always_be_sent_again() -> None:
    assert retry("p1").pause(KEPT, NodeError("", sent=False), boots=False, elsewhere=False) == 0.05
