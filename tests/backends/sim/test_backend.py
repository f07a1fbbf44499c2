"""A backend on a bank of a world, and faults that it is opened with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import (
    BackendError,
    ClosedError,
    DeviceGoneError,
    PowerLostError,
    SettingError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.faults import Fault, parse_faults
from rpi_clusterhat_sim.world import World
from tests.backends.sim.boards import LINES, is_set_up, opened, world_of

if TYPE_CHECKING:
    from rpi_clusterhat.testing import FakeClock


def test_it_takes_some_of_a_banks_lines_and_no_others(clock: FakeClock) -> None:
    world = World(clock=clock)
    world.add_bank("0", LINES)
    some = SimBackend(world, LINES[:2])
    some.write({0: True})
    assert some.read() == {0: True, 1: False}
    with pytest.raises(ValueError, match="line 5 was not opened"):
        some.write({5: True})
    with pytest.raises(BackendError, match="another board's, with p1 at 0"):
        SimBackend(world, [Line(5, "alert"), Line(6, "p1")])


def test_lines_that_are_not_held_drop_when_their_backend_is_closed(clock: FakeClock) -> None:
    world = World(clock=clock)
    keeps, drops = SimBackend(world, LINES), SimBackend(world, LINES, holds=False)
    assert (keeps.holds_levels, drops.holds_levels) == (True, False)
    keeps.write({0: True})
    drops.write({1: True, 2: True})
    keeps.write({2: True})
    drops.close()
    keeps.close()
    assert [node.powered for node in world.nodes] == [True, False, True, False]
    with pytest.raises(ClosedError):
        drops.set_up({})


def test_a_power_loss_is_seen_by_a_read_and_stops_a_write(clock: FakeClock) -> None:
    world = World(clock=clock)
    backend = SimBackend(world, LINES)
    backend.write({0: True})
    world.bank("0").lose_power()
    assert is_set_up(backend), "nobody has looked yet"
    with pytest.raises(PowerLostError):
        backend.write({1: True})
    assert not is_set_up(backend)
    assert backend.read() == dict.fromkeys(range(8), False)
    backend.set_up({0: True})
    assert is_set_up(backend)
    backend.write({1: True})
    world.bank("0").lose_power()
    backend.read()
    assert not is_set_up(backend)


def test_faults_that_are_asked_for_as_text_happen(clock: FakeClock) -> None:
    backend = opened(clock, fault="p1:slow=2, p2:no-boot,p3:hang=25,p4:stuck-low,bus:error@4", inrush="0")
    with pytest.raises(StuckLineError):
        backend.write({0: True, 1: True, 2: True, 3: True})
    clock.advance(30)
    assert [node.phase for node in world_of(backend).nodes] == ["booting", "failed", "hung", "off"]
    backend.read()
    backend.read()
    with pytest.raises(TransientBusError):
        backend.read()
    backend.read()
    with backend.change() as (world, bank):
        for fault in parse_faults("p2:ok,p4:ok,alert:stuck-high,bus:gone@2"):
            fault.apply(world, bank)
    assert backend.read()[6]
    for _ in range(2):
        with pytest.raises(DeviceGoneError):
            backend.read()


def test_a_fault_of_a_line_that_the_board_has_not_is_refused(clock: FakeClock) -> None:
    with pytest.raises(SettingError, match="p5:no-boot: this board has no line p5: it has p1, p2"):
        opened(clock, fault="p5:no-boot")


def test_faults_are_read_from_text() -> None:
    assert parse_faults("p1:no-boot,p2:slow=2.5,p3:hang,p4:hang=0,p1:drops=1.5") == (
        Fault("p1", "no-boot"),
        Fault("p2", "slow", 2.5),
        Fault("p3", "hang"),
        Fault("p4", "hang", 0.0),
        Fault("p1", "drops", 1.5),
    )
    assert parse_faults("bus:error@3x2,bus:gone@1,bus:power-lost,bus:ok, alert:ok") == (
        Fault("bus", "error", 3, 2),
        Fault("bus", "gone", 1),
        Fault("bus", "power-lost"),
        Fault("bus", "ok"),
        Fault("alert", "ok"),
    )
    assert parse_faults("") == ()


@pytest.mark.parametrize(
    "text",
    ["p1", "p1:", ":no-boot", "p1:slow", "p1:slow=0", "p1:slow=x", "p1:slow=inf", "p1:hang=-1", "p1:drops",
     "p1:drops=-1", "led:no-boot", "p1:fast=2", "bus:error", "bus:error@0", "bus:error@-1", "bus:error@1x0",
     "bus:error@1x", "bus:gone@1x2", "bus:stuck-high", "bus:no-boot"],
)  # fmt: skip
def test_a_fault_that_cannot_be_read_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"pN:no-boot, .* not"):
        parse_faults(text)
