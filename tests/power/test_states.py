"""The transition table, cell by cell, against one that is written out here by hand."""

from __future__ import annotations

import copy

import pytest

from rpi_clusterhat.errors import TransitionError
from rpi_clusterhat.power.states import TABLE, State, Trigger, after, has_power

COLUMNS = "SEEN_ON SEEN_OFF QUEUE POWER CANCEL CUT ANSWER SILENCE STOP FAIL FORGET"
EXPECTED = """
UNKNOWN   ON       OFF    -      ON -   OFF -     -  -        FAILED UNKNOWN
OFF       ON       OFF    QUEUED ON -   OFF -     -  -        FAILED UNKNOWN
QUEUED    ON       QUEUED -      ON OFF OFF -     -  -        FAILED UNKNOWN
ON        ON       OFF    -      -  -   OFF READY -  STOPPING FAILED UNKNOWN
READY     READY    OFF    -      -  -   OFF -     ON STOPPING FAILED UNKNOWN
STOPPING  STOPPING OFF    -      -  ON  OFF -     -  -        FAILED UNKNOWN
FAILED    FAILED   FAILED -      ON -   OFF -     -  -        FAILED UNKNOWN
"""
CELLS = [
    (State[row[0]], Trigger[column], None if cell == "-" else State[cell])
    for row in (line.split() for line in EXPECTED.strip().splitlines())
    for column, cell in zip(COLUMNS.split(), row[1:], strict=True)
]


def test_the_expectation_is_complete() -> None:
    assert {(state, trigger) for state, trigger, _ in CELLS} == {(s, h) for s in State for h in Trigger}
    assert len(CELLS) == len(State) * len(Trigger)


def test_every_state_is_a_key() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize(("state", "trigger", "expected"), CELLS)
def test_each_cell(state: State, trigger: Trigger, expected: State | None) -> None:
    if expected is not None:
        assert after(state, trigger) is expected
        return
    before = copy.deepcopy(TABLE)
    with pytest.raises(TransitionError) as caught:
        after(state, trigger)
    assert before == TABLE
    text = str(caught.value)
    assert str(trigger) in text
    assert str(state) in text
    assert "\n" not in text
    assert all(str(allowed) in text for allowed in TABLE[state])


def test_what_states_say_of_the_power() -> None:
    assert {state: has_power(state) for state in State} == {
        State.UNKNOWN: None,
        State.OFF: False,
        State.QUEUED: False,
        State.ON: True,
        State.READY: True,
        State.STOPPING: True,
        State.FAILED: None,
    }


def test_no_state_contradicts_what_was_seen() -> None:
    for state in State:
        assert has_power(after(state, Trigger.SEEN_ON)) is not False
        assert has_power(after(state, Trigger.SEEN_OFF)) is not True
        assert has_power(after(state, Trigger.CUT)) is False
