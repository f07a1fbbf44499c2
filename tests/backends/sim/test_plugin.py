"""The plugin: how it is found, and what its options do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    BackendUnavailableError,
    SettingError,
)
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat_sim.world import World
from tests.backends.sim.boards import LINES, is_set_up, opened, world_of

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeClock


def test_it_is_found_and_listed_without_the_simulation_being_imported() -> None:
    code = (
        "import sys, rpi_clusterhat_sim; rpi_clusterhat_sim.plugin\n"
        "sys.exit(any(name.startswith('rpi_clusterhat_sim.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_boards_of_a_cluster_are_banks_of_one_world(clock: FakeClock) -> None:
    shared: dict[str, Any] = {}
    first, second = opened(clock, shared), opened(clock, shared)
    second.write({0: True})
    world = shared["sim.world"]
    assert world_of(first) is world_of(second) is world
    assert world.node("p5").powered
    assert not world.node("p1").powered
    assert list(world.banks) == ["0", "1"]
    third = opened(clock, shared, bank="attic", rail="other", capacity="3")
    assert world.rail("other").capacity == 3
    assert world_of(third) is world
    with pytest.raises(SettingError, match="bank=attic"):
        opened(clock, shared, bank="attic")


def test_a_test_can_bring_its_own_world(clock: FakeClock) -> None:
    world = World(clock=clock)
    world.add_bank("0", LINES)
    backend = opened(clock, {"sim.world": world})
    backend.write({1: True})
    assert world.node("p2").powered


def test_rails_are_private_to_the_process_or_to_the_file(clock: FakeClock, path: str, tmp_path: Path) -> None:
    assert opened(clock).rail_lock("main") is None
    files = [opened(clock, state=p).rail_lock("main") for p in (path, f"{tmp_path}/./world.json", f"{path}2")]
    assert files[0] == files[1] != files[2]
    assert files[0] == f"{tmp_path}/rpi-clusterhat.sim-world.json.rail-main.lock"
    assert opened(clock, state=path).rail_lock("usb") != files[0]


def test_options_say_what_the_world_is_like(clock: FakeClock) -> None:
    backend = opened(
        clock, capacity="9", inrush="1", inrush_time="3", boot="0.5", idle="0.25", boot_time="10", ambient="5"
    )
    backend.write({0: True, 1: True})
    world = world_of(backend)
    assert (world.rail().current, world.rail().capacity, world.node("p1").temperature) == (2.0, 9.0, 5.0)
    clock.advance(3)
    assert world.rail().current == 1.0
    clock.advance(7)
    assert world.rail().current == 0.5
    assert world.node("p1").is_up


def test_a_fresh_board_is_as_its_jumper_says(clock: FakeClock) -> None:
    for pos in (False, True):
        backend = opened(clock, set_up="no", pos="on" if pos else "off")
        assert not is_set_up(backend)
        assert backend.read() == {**dict.fromkeys(range(4), pos), **dict.fromkeys(range(4, 8), False)}
        assert [node.powered for node in world_of(backend).nodes] == [pos] * 4
        backend.set_up(dict.fromkeys(range(4), pos))
        assert is_set_up(backend)
        assert world_of(backend).node("p1").boots == (2 if pos else 0), "setting it up changed no level"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("capacity", "0", "above 0"),
        ("capacity", "x", "a number"),
        ("capacity", "nan", "a number"),
        ("inrush", "-1", "from 0"),
        ("boot_time", "inf", "a number"),
        ("set_up", "perhaps", "yes or no"),
        ("bank", "a b", "letters"),
        ("bank", "", "letters"),
        ("state", "", "path"),
        ("history", "-1", "from 0"),
        ("fault", "p1:explodes", "not 'p1:explodes'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    clock: FakeClock, option: str, value: str, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        opened(clock, **{option: value})


def test_check_tells_what_opening_would(clock: FakeClock, path: str, tmp_path: Path) -> None:
    plugin = load("sim")

    def check(**options: str) -> None:
        plugin.check(parse_options("sim", plugin, options, "test"))

    check()
    check(state=path)
    assert not os.path.exists(path), "checking changes nothing"
    missing = str(tmp_path / "no" / "world.json")
    with pytest.raises(BackendUnavailableError, match="create the folder"):
        check(state=missing)
    with pytest.raises(BackendUnavailableError, match="create the folder"):
        opened(clock, state=missing)
    with pytest.raises(BackendUnavailableError, match="not a regular file"):
        check(state=str(tmp_path))
