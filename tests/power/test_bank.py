"""From settings to open boards, with backends made for the test."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster
from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    BoardNotFoundError,
    DeviceNotFoundError,
    LineBusyError,
    MissingDependencyError,
    SettingError,
    UnknownBackendError,
)
from rpi_clusterhat.hardware import open_board
from rpi_clusterhat.hardware.backend import OpenRequest, Option, Plugin, parse_int
from rpi_clusterhat.power.bank import open_banks
from rpi_clusterhat.settings import load_settings
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rpi_clusterhat.power.bank import Bank
    from tests.lab import MemoryBackend

BUS = Option("bus", parse_int(0, 9), 1, "number of the bus")


class World:
    """The plugins of a test, and what was opened with them."""

    def __init__(self, lock_dir: Path, make: Callable[..., MemoryBackend]) -> None:
        self.lock_dir = str(lock_dir)
        self.device_tree = lock_dir / "hat"
        self.plugins: dict[str, Plugin] = {}
        self.opened: list[tuple[str, MemoryBackend]] = []
        self.openings: list[OpenRequest] = []
        self._make = make

    def add(
        self,
        name: str,
        *,
        holds: bool = True,
        fails: Exception | None = None,
        rail: str | None = "",
        **changes: Any,
    ) -> None:
        def open_(given: OpenRequest) -> MemoryBackend:
            self.openings.append(given)
            if fails is not None:
                raise fails
            backend = self._make(holds_levels=holds)
            if rail != "":

                def rail_lock(name: str) -> str | None:
                    return rail and f"{self.lock_dir}/{rail}-{name}"

                vars(backend).update(rail_lock=rail_lock, simulation=None, addresses=dict)
            self.opened.append((name, backend))
            return backend

        self.plugins[name] = Plugin("for tests", changes.pop("options", (BUS,)), open_, **changes)

    def load(self, name: str) -> Plugin:
        if name not in self.plugins:
            raise UnknownBackendError(f"no backend is called {name!r}")
        return self.plugins[name]

    def open(self, **code: object) -> list[Bank]:
        settings = load_settings({"lock_dir": self.lock_dir, **code}, env={})
        return open_banks(settings, FakeClock(), device_tree=str(self.device_tree))

    @property
    def still_open(self) -> list[str]:
        return [name for name, backend in self.opened if not backend.closed]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Any) -> World:
    made = World(tmp_path, lab.memory)
    monkeypatch.setattr(open_board, "load", made.load)
    return made


def test_the_first_that_holds_its_levels_is_taken(world: World) -> None:
    world.add("gpiod")
    world.add("sysfs")
    [bank] = world.open(board="1.3")
    assert (bank.backend_name, world.still_open) == ("gpiod", ["gpiod"])
    assert [name for name, _ in world.opened] == ["gpiod"], "no other is tried"


def test_one_that_holds_its_levels_is_better_than_one_before_it(world: World) -> None:
    world.add("gpiod", holds=False)
    world.add("sysfs")
    [bank] = world.open(board="1.3")
    assert (bank.backend_name, world.still_open) == ("sysfs", ["sysfs"])


def test_one_whose_lines_are_taken_is_passed_over(world: World) -> None:
    world.add("gpiod", fails=LineBusyError("line 6 is exported through sysfs"))
    world.add("sysfs")
    [bank] = world.open(board="1.3")
    assert (bank.backend_name, world.still_open) == ("sysfs", ["sysfs"])
    with pytest.raises(LineBusyError, match=r"^line 6 is exported through sysfs$"):
        world.open(board="1.3", backend="gpiod")


def test_an_error_of_the_system_while_one_is_opened_is_told_as_the_backends(world: World) -> None:
    world.add("mine", fails=OSError(errno.EIO, "Input/output error"))
    with pytest.raises(BackendUnavailableError, match=r"^mine: .*Input/output error"):
        world.open(board="1.3", backend="mine")


@pytest.mark.parametrize("second", ["drops", "cannot"])
def test_one_that_drops_its_levels_is_better_than_none(world: World, second: str) -> None:
    world.add("gpiod", holds=False)
    world.add("sysfs", holds=False, fails=BackendUnavailableError("no sysfs") if second == "cannot" else None)
    [bank] = world.open(board="1.3")
    assert (bank.backend_name, world.still_open) == ("gpiod", ["gpiod"])


def test_the_reasons_of_all_are_told(world: World) -> None:
    world.add("gpiod", fails=MissingDependencyError("pip install it"))
    world.add("sysfs", fails=DeviceNotFoundError("no sysfs"))
    with pytest.raises(MissingDependencyError) as caught:
        world.open(board="1.3")
    assert str(caught.value) == (
        "no backend can be used for a HAT 1.3 here: gpiod: pip install it; sysfs: no sysfs"
    )
    assert isinstance(caught.value.__cause__, MissingDependencyError)


def test_a_single_reason_is_told_as_it_is(world: World) -> None:
    error = AccessDeniedError("join the group i2c")
    world.add("i2c", fails=error)
    with pytest.raises(AccessDeniedError) as caught:
        world.open(board="2.3")
    assert caught.value is error


def test_an_option_rules_out_those_that_have_no_such_option(world: World) -> None:
    world.add("gpiod", options=())
    world.add("sysfs", holds=False)
    [bank] = world.open(board="1.3", options={"bus": 2})
    assert bank.backend_name == "sysfs"
    with pytest.raises(SettingError, match=r"^Unknown option 'address' of the backend gpiod"):
        world.open(board="1.3", options={"address": 2})


def test_what_goes_wrong_with_a_later_one_closes_the_second_best(world: World) -> None:
    world.add("gpiod", holds=False)
    world.add("sysfs", fails=RuntimeError("a mistake"))
    with pytest.raises(RuntimeError):
        world.open(board="1.3")
    assert world.still_open == []


def test_the_backend_that_is_said_is_taken_and_no_other(world: World) -> None:
    world.add("gpiod", holds=False)
    world.add("sysfs")
    [bank] = world.open(board="1.3", backend="gpiod")
    assert bank.backend_name == "gpiod"
    world.add("gpiod", fails=BackendUnavailableError("no chip"))
    with pytest.raises(BackendUnavailableError, match="no chip"):
        world.open(board="1.3", backend="gpiod")
    with pytest.raises(UnknownBackendError):
        world.open(board="1.3", backend="i3c")


def test_what_a_backend_is_opened_with(world: World) -> None:
    world.add("i2c")
    world.open(board="2.3", nodes=2, options={"bus": "3"})
    [given] = world.openings
    assert {line.name: line.offset for line in given.lines} == {
        "p1": 0,
        "p2": 1,
        "p3": 2,
        "p4": 3,
        "alert": 6,
        "led": 4,
        "hub": 5,
        "wp": 7,
    }
    assert (given.options, given.lock_dir, given.shared) == ({"bus": 3}, world.lock_dir, {})
    assert isinstance(given.clock, FakeClock)


def test_the_board_is_detected_where_nobody_says_it(world: World) -> None:
    world.add("i2c")
    with pytest.raises(BoardNotFoundError):
        world.open()
    world.device_tree.mkdir()
    (world.device_tree / "product").write_bytes(b"ZC4:ClusterHAT\0")
    (world.device_tree / "product_ver").write_bytes(b"0x0024\0")
    [bank] = world.open(nodes=3)
    assert (bank.board.version, bank.names) == ("2.4", ["p1", "p2", "p3"])


def test_a_simulation_says_which_board_it_takes_where_nobody_does(world: World) -> None:
    world.add("sim", board="3.1")
    assert [bank.board.version for bank in world.open(backend="sim")] == ["3.1"]
    assert [bank.board.version for bank in world.open(backend="sim", board="2.0")] == ["2.0"]


def test_a_version_that_does_not_exist_opens_nothing(world: World) -> None:
    world.add("i2c")
    with pytest.raises(
        SettingError, match=r"^Invalid value for board: '9\.9' \(from board of board 2\): expected 1\.x"
    ):
        world.open(boards=[{"board": "2.3"}, {"board": "9.9"}])
    assert world.still_open == []


def test_several_boards(world: World) -> None:
    world.add("i2c")
    world.add("gpiod")
    boards: list[Mapping[str, object]] = [
        {"board": "2.3", "nodes": 2},
        {"board": "1.3", "rail": "usb"},
        {"board": "3.0"},
    ]
    banks = world.open(boards=boards, spacing=3)
    assert [bank.names for bank in banks] == [
        ["p1", "p2"],
        ["p3", "p4", "p5", "p6"],
        ["p7", "p8", "p9", "p10"],
    ]
    assert banks[0].rail is banks[2].rail
    assert banks[0].rail is not banks[1].rail
    assert {bank.rail.spacing for bank in banks} == {3.0}
    assert len({id(given.shared) for given in world.openings}) == 1
    assert repr(banks[0].rail).endswith(f"{world.lock_dir}/rpi-clusterhat.rail-main.lock> spacing=3>")
    assert "rail-usb.lock" in repr(banks[1].rail)


def test_all_are_closed_when_a_later_one_fails(world: World) -> None:
    world.add("i2c")
    world.add("gpiod", fails=BackendUnavailableError("no chip"))
    with pytest.raises(BackendUnavailableError, match="no chip"):
        world.open(boards=[{"board": "2.3"}, {"board": "2.4"}, {"board": "1.3", "backend": "gpiod"}])
    assert [name for name, _ in world.opened] == ["i2c", "i2c"]
    assert world.still_open == []


def test_a_private_rail_is_not_the_controllers(world: World) -> None:
    world.add("i2c")
    world.add("own", rail=None)
    world.add("world", rail="w1")
    boards: list[Mapping[str, object]] = [
        {"board": "2.3"},
        {"board": "2.3", "backend": "own"},
        {"board": "2.3", "backend": "own"},
        {"board": "2.3", "backend": "own", "rail": "usb"},
        {"board": "2.3", "backend": "world"},
    ]
    rails = [bank.rail for bank in world.open(boards=boards, backend=None)]
    assert rails[1] is rails[2]
    assert len({id(rail) for rail in rails}) == 4
    assert "LocalTurnstile" in repr(rails[1])
    assert "w1-main" in repr(rails[4])


def test_a_cluster_is_opened_by_its_settings(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("i2c")
    (tmp_path / "hat.toml").write_text('board = "2.3"\nspacing = 4.5\n')
    monkeypatch.setenv("RPI_CLUSTERHAT_NODES", "3")
    config, clock = str(tmp_path / "hat.toml"), FakeClock()
    with Cluster.open(config=config, lock_dir=str(tmp_path), clock=clock, options={"bus": 2}) as hat:
        assert (hat.spacing, hat.names, hat.boards[0].version) == (4.5, ["p1", "p2", "p3"], "2.3")
        assert world.openings[0].options == {"bus": 2}
        assert world.openings[0].clock is clock
    assert world.still_open == []
