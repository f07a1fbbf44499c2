"""The backend i2c on the expander itself."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

import pytest
import smbus2

from rpi_clusterhat import (
    AccessDeniedError,
    Cluster,
    DeviceNotFoundError,
    LinesAltered,
    PowerLost,
    PowerLostError,
    State,
    StateChanged,
    TransientBusError,
    UnsupportedError,
)
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.hardware.discovery import load, parse_options
from tests.kernel.inside.banks import RawExpander, open_backend
from tests.kernel.inside.people import run_as
from tests.kernel.inside.pulled_tests import PulledTests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rpi_clusterhat.events import Event

OUTPUT, DIRECTION = 1, 3
LONGEST = 15
"""More transactions than any operation below makes."""


class TestI2cOnTheExpander(PulledTests):
    bank = RawExpander()


@pytest.fixture
def bank() -> Iterator[RawExpander]:
    bank = RawExpander()
    bank.reset()
    yield bank
    bank.remove()


@pytest.fixture
def hat(bank: RawExpander) -> Iterator[Cluster]:
    with Cluster.open("2.3", backend="i2c", options=bank.options, spacing=0.05) as hat:
        yield hat


def test_the_first_touch_writes_levels_before_directions(bank: RawExpander, hat: Cluster) -> None:
    bank.unset()
    bank.bus.forget()
    assert not hat.status().boards[0].set_up
    assert bank.bus.writes() == []
    hat.on("p2")
    writes = bank.bus.writes()
    registers = [write[0] for write in writes]
    assert registers.index(OUTPUT) < registers.index(DIRECTION)
    assert bank.bus.first.direction == 0x00
    nodes = [pins & 0x0F for pins in bank.bus.pin_history()]
    assert set(nodes) == {0b0000, 0b0010}
    assert bank.bus.first.pins == 0b1001_0010


def test_the_power_on_state_jumper_is_honoured(bank: RawExpander, hat: Cluster) -> None:
    bank.unset()
    bank.bus.first.external = 0x0F
    bank.bus.forget()
    assert hat.init()
    assert not hat.init()
    assert {pins & 0x0F for pins in bank.bus.pin_history()} <= {0x0F}
    assert bank.bus.first.pins & 0x0F == 0x0F


@pytest.mark.parametrize("soldered", [True, False])
def test_the_link_that_protects_the_eeprom(bank: RawExpander, hat: Cluster, soldered: bool) -> None:
    chip = bank.bus.first
    chip.xra1200p(True)
    chip.floating, chip.external = (0x00, 0x80) if soldered else (0x80, 0x00)
    bank.unset()
    assert hat.init()
    assert chip.pull_ups == (0xFF if soldered else 0x7F)
    bank.bus.forget()
    if soldered:
        with pytest.raises(UnsupportedError, match="solder link"):
            hat.write_protect.off()
        assert bank.bus.writes() == []
        assert hat.write_protect.is_on
    else:
        hat.write_protect.off()
        assert chip.pins == 0b0001_0000


def test_few_transactions(bank: RawExpander) -> None:
    fresh = str(time.monotonic_ns())  # a rail on which nobody has switched, so that there is no wait
    with Cluster.open("2.3", backend="i2c", options=bank.options, spacing=0.05, rail=fresh) as hat:
        bank.bus.forget()
        hat.status()
        assert bank.bus.transfers <= 3
        assert bank.bus.writes() == []
        bank.bus.forget()
        hat.on("p1")
        assert bank.bus.transfers <= 6
        hat.on("all")
        bank.bus.forget()
        hat.off("all")
        assert bank.bus.transfers <= 6
        assert bank.bus.writes() == [bytes([OUTPUT, 0x00])]


@pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.EIO, errno.EAGAIN])
@pytest.mark.parametrize("count", [1, 2])
def test_bus_errors_that_pass(bank: RawExpander, hat: Cluster, count: int, code: int) -> None:
    bank.bus.fail(count, code)
    hat.on("p1", "p3")
    assert bank.outside() == {0: True, 1: False, 2: True, 3: False}
    bank.bus.fail(count, code, skip=2, late=True)
    hat.off("all")
    assert bank.outside() == dict.fromkeys(range(4), False)


def test_bus_errors_that_stay(bank: RawExpander, hat: Cluster) -> None:
    hat.on("p1")
    bank.bus.fail(-1)
    for call in (lambda: hat.on("p2"), lambda: hat.off("all"), hat.status):
        with pytest.raises(TransientBusError, match="0x20 on /dev/i2c-1") as caught:
            call()
        assert caught.value.errno == errno.EREMOTEIO
    assert bank.outside() == {0: True, 1: False, 2: False, 3: False}
    bank.bus.fail(0)
    assert [node.state for node in hat] == [State.ON, State.OFF, State.OFF, State.OFF]
    hat.on("p2")
    assert bank.outside() == {0: True, 1: True, 2: False, 3: False}


@pytest.mark.parametrize("late", [False, True])
def test_a_bus_that_fails_in_the_middle_leaves_a_truthful_state(bank: RawExpander, late: bool) -> None:
    for skip in range(LONGEST):
        bank.reset()
        bank.preset({0: True})
        with Cluster.open("2.3", backend="i2c", options=bank.options, spacing=0.01) as hat:
            bank.bus.fail(-1, skip=skip, late=late)
            try:
                hat.on("p2")
            except TransientBusError:
                failed = True
            else:
                failed = False
            bank.bus.fail(0)
            assert {pins & 0x0F for pins in bank.bus.pin_history()} <= {0b01, 0b11}
            assert [node.powered for node in hat] == list(bank.outside().values())
            assert hat["p1"].state is State.ON
            if not failed:
                assert hat["p2"].state is State.ON
                break
    else:
        pytest.fail("no number of good transactions was enough")


def test_what_another_program_undoes_is_told_to_a_later_one(bank: RawExpander, hat: Cluster) -> None:
    hat.on("p1", "p2")
    assert hat.status().boards[0].altered == ()
    with smbus2.SMBus(1) as other:  # as the vendor's tool does it, without the lock
        other.write_byte_data(0x20, OUTPUT, other.read_byte_data(0x20, OUTPUT) & ~0b0001)
    with Cluster.open("2.3", backend="i2c", options=bank.options, spacing=0.05) as later:
        events: list[Event] = []
        later.subscribe(events.append)
        assert later.status().boards[0].altered == ("p1",)
        assert events == [LinesAltered(0, (), ("p1",))]
        later.on("p1")
        assert later.status().boards[0].altered == ()
    assert hat.status().boards[0].altered == ()


def test_the_expander_lost_power_meanwhile(bank: RawExpander, hat: Cluster) -> None:
    events: list[Event] = []
    hat.on("p1", "p2")
    hat.subscribe(events.append)
    bank.unset()
    bank.bus.forget()
    status = hat.status()
    assert not any(node.powered for node in status.nodes.values())
    assert not status.boards[0].set_up
    assert bank.bus.writes() == []
    assert events == [
        PowerLost(0),
        StateChanged("p1", State.ON, State.OFF, "power lost"),
        StateChanged("p2", State.ON, State.OFF, "power lost"),
    ]
    hat.on("p3")
    assert bank.outside() == {0: False, 1: False, 2: True, 3: False}


def test_the_expander_loses_power_in_the_middle(bank: RawExpander) -> None:
    seen = {"lost": 0, "noticed later": 0}
    for transfer in range(1, LONGEST):
        bank.reset()
        bank.preset({0: True})
        events: list[Event] = []
        with Cluster.open("2.3", backend="i2c", options=bank.options, spacing=0.01) as hat:
            assert hat["p1"].powered
            hat.subscribe(events.append)
            bank.bus.forget()
            bank.bus.first.power_cycle(before_transfer=transfer)
            lost = False
            try:
                hat.on("p2")
            except PowerLostError:
                lost = True
            if transfer > bank.bus.transfers:
                break
            on = sum(level for level in bank.outside().values())
            assert on <= 1, "nodes were switched on without their turn"
            assert [node.powered for node in hat] == list(bank.outside().values())
            assert PowerLost(0) in events
            seen["lost" if lost else "noticed later"] += 1
            hat.on("p2")
            assert bank.outside() == {0: False, 1: True, 2: False, 3: False}
    else:
        pytest.fail("the operation made more transactions than this test expects")
    assert seen["lost"] > 0


def test_only_members_of_the_group_may_open_the_bus(bank: RawExpander) -> None:
    def switch() -> None:
        backend = bank.open()
        backend.write({0: True})
        backend.close()

    run_as("alice", switch)
    assert bank.outside()[0]
    with pytest.raises(AccessDeniedError, match=r"/dev/i2c-1.* group i2c"):
        run_as("mallory", bank.open)


def test_no_such_bus_expander_or_line(bank: RawExpander) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"/dev/i2c-7.*/dev/i2c-1"):
        open_backend("i2c", bank.lines, {"bus": 7})
    with pytest.raises(DeviceNotFoundError, match="/dev/null"):
        open_backend("i2c", bank.lines, {"bus": "/dev/null"})
    with pytest.raises(DeviceNotFoundError, match="not 8"):
        open_backend("i2c", [Line(8, "p1")], bank.options)
    plugin = load("i2c")
    with pytest.raises(DeviceNotFoundError, match="0x22 on /dev/i2c-1"):
        plugin.check(parse_options("i2c", plugin, {"address": "0x22"}, "test"))


def test_the_expander_is_unplugged(bank: RawExpander, hat: Cluster) -> None:
    hat.on("p1")
    bank.bus.first.present(False)
    with pytest.raises(TransientBusError, match="is a HAT fitted"):
        hat.off("p1")
    assert "p1=unknown" in repr(hat)
    bank.bus.first.present(True)
    assert hat["p1"].state is State.ON


def test_two_boards_on_one_bus(bank: RawExpander) -> None:
    bank.bus.second.set_up(0x00)
    boards = [{"board": "2.3", "backend": "i2c", "options": {"address": a}} for a in ("0x20", "0x21")]
    with Cluster.open(boards=boards, spacing=0.05) as hat:
        assert len(hat) == 8
        hat.on("p1", "p8")
        assert bank.bus.first.pins & 0x0F == 0b0001
        assert bank.bus.second.pins & 0x0F == 0b1000
        hat.off("all")
    assert (bank.bus.first.pins | bank.bus.second.pins) & 0x0F == 0
