"""Lines that something else has changed since this library switched a board."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rpi_clusterhat import LinesAltered, PowerLost, State, StateChanged
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from tests.cluster.looking import ALL, IDLE, seen

if TYPE_CHECKING:
    import pytest

    from tests.lab import Lab

LED, HUB = 0x10, 0x20


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_switch_that_is_undone_is_told_by_the_next_read(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p1")
    events = seen(hat)
    expander.output = IDLE | 0b0100 | HUB
    hat.status()
    assert events == [
        StateChanged("p1", State.ON, State.OFF, "outside"),
        StateChanged("p3", State.OFF, State.ON, "outside"),
        LinesAltered(0, ("p3",), ("p1", "hub")),
    ]
    said = (
        "board 0: something else has changed p3 (on), p1 (off), hub (off) since this library last switched it"
    )
    assert messages(caplog) == [said]
    assert hat.status().boards[0].altered == ("p1", "p3", "hub")
    assert (len(events), len(messages(caplog))) == (3, 1), "told once"


def test_also_by_a_later_process_whose_first_read_it_is(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    expander = lab.expander()
    lab.hat(expander).on("p1")
    expander.output = IDLE
    for _ in range(2):  # reading does not make it forgotten
        hat = lab.hat(expander)
        events = seen(hat)
        status = hat.status()
        assert status.boards[0].altered == ("p1",)
        assert status.as_dict()["boards"][0]["altered"] == ["p1"]
        assert events == [LinesAltered(0, (), ("p1",))]
    assert len(messages(caplog)) == 2


def test_what_is_altered_further_is_told_too(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p1")
    expander.output = IDLE
    hat.status()
    events = seen(hat)
    expander.output = IDLE | 0b0010
    hat.status()
    assert events[-1] == LinesAltered(0, ("p2",), ())
    expander.output = IDLE | 0b0011
    hat.status()
    assert events[-1] == StateChanged("p1", State.OFF, State.ON, "outside"), "as it was left"
    assert hat.status().boards[0].altered == ("p2",)


def test_the_next_switch_takes_the_lines_as_they_are(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p1")
    expander.output = IDLE | 0b0100
    events = seen(hat)
    hat.alert.on()
    assert LinesAltered(0, ("p3",), ("p1",)) in events
    assert hat.status().boards[0].altered == ()
    assert lab.hat(expander).status().boards[0].altered == ()
    assert expander.levels & ALL == 0b0100


def test_a_function_that_another_program_switched_is_told(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.led.off()
    events = seen(hat)
    expander.output |= LED
    assert hat.led.is_on
    assert events == [LinesAltered(0, ("led",), ())]


def test_each_board_has_its_own_record(lab: Lab) -> None:
    first, second = lab.expander(), lab.expander()
    hat = lab.hat(first, second)
    hat.on("p1", "p5")
    events = seen(hat)
    second.output = IDLE
    assert [board.altered for board in hat.status().boards] == [(), ("p5",)]
    assert events[-1] == LinesAltered(1, (), ("p5",))


def test_other_programs_of_this_library_alter_nothing(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    expander = lab.expander()
    first, second = lab.hat(expander), lab.hat(expander)
    first.on("p1")
    second.off("p1")
    second.on("p2")
    assert first.status().boards[0].altered == second.status().boards[0].altered == ()
    assert messages(caplog) == []


def test_a_loss_of_power_is_told_as_one(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p1")
    events = seen(hat)
    expander.lose_power()
    hat.status()
    assert events == [PowerLost(0), StateChanged("p1", State.ON, State.OFF, "power lost")]
    hat.on("p2")
    assert hat.status().boards[0].altered == ()
    assert messages(caplog) == []


def test_a_board_whose_backend_keeps_no_record_tells_nothing(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    hat.on("p1")
    events = seen(hat)
    bank.levels[6] = False
    assert hat.status().boards[0].altered == ()
    assert "altered" not in hat.status().as_dict()["boards"][0]
    assert events == [StateChanged("p1", State.ON, State.OFF, "outside")]


def test_a_short_is_told_once_and_not_after_each_switch(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p2")
    events = seen(hat)
    expander.stuck[1] = False
    for operation in (hat.on, hat.off, hat.on):
        operation("p1")
        assert hat.status().boards[0].altered == ()
    assert [event for event in events if isinstance(event, LinesAltered)] == [LinesAltered(0, (), ("p2",))]


def test_an_off_without_the_lock_is_no_other_program(lab: Lab) -> None:
    expander = lab.expander()
    hat = lab.hat(expander)
    hat.on("p1", "p2")
    with FileLock(lock_path(lab.lock_dir, "i2c-1-20")).hold():
        hat.off("p1")
    for again in (hat, lab.hat(expander)):
        events = seen(again)
        assert again.status().boards[0].altered == ()
        assert not any(isinstance(event, LinesAltered) for event in events)
