"""Locks that cannot be had: no node keeps its power for want of one, and none gets power without one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import LockError, LockMissed, LockTimeoutError, NodePool, TcpProbe
from rpi_clusterhat.cli import main
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.testing import FakeExpander, FakeSMBus
from tests.cluster.looking import seen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.lab import Lab


def missing(folder: Path) -> None:
    folder.rmdir()


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.touch()


def a_link_to_nowhere(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to(folder / "nowhere")


def open_to_strangers(folder: Path) -> None:
    folder.chmod(0o1777)


def of_something_else(folder: Path) -> None:
    for name in ("i2c-1-20", "rail-main"):
        os.mkdir(lock_path(str(folder), name))


BROKEN = [missing, a_file, a_link_to_nowhere, open_to_strangers, of_something_else]


@pytest.fixture(params=BROKEN, ids=lambda kind: kind.__name__)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder for locks that cannot be used."""
    folder = tmp_path / "locks"
    folder.mkdir()
    breaking: Callable[[Path], None] = request.param
    breaking(folder)
    return folder


def test_off_goes_ahead_says_so_and_is_right(lab: Lab, broken: Path) -> None:
    lab.lock_dir = str(broken)
    expander = lab.expander(nodes=0b1011)
    with lab.hat(expander) as hat:
        events = seen(hat)
        hat.off("p1", "p2")
        assert expander.levels & 0b1111 == 0b1000
        assert [hat[name].powered for name in hat.names] == [False, False, False, True]
        [missed] = [event for event in events if isinstance(event, LockMissed)]
        assert missed.board == 0
        assert str(broken) in missed.reason
        hat.off("all")
        assert expander.levels & 0b1111 == 0


def test_off_sets_up_an_expander_that_nobody_has_set_up(lab: Lab, broken: Path) -> None:
    lab.lock_dir = str(broken)
    expander = FakeExpander(pins=0b1111)
    with lab.hat(expander) as hat:
        events = seen(hat)
        hat.off("all")
        assert (expander.levels & 0b1111, expander.direction) == (0, 0)
        assert [type(event) for event in events].count(LockMissed) == 2, "one for each write"


def test_nothing_else_is_switched(lab: Lab, broken: Path) -> None:
    lab.lock_dir = str(broken)
    expander = lab.expander(nodes=0b0001)
    with lab.hat(expander) as hat:
        operations: list[Callable[[], object]] = [
            lambda: hat.on("p2"),
            lambda: hat.cycle("p1"),
            lambda: hat.cycle("p1", "p2"),
            hat.alert.on,
        ]
        for operation in operations:
            with pytest.raises(LockError) as caught:
                operation()
            assert str(broken) in str(caught.value)
        assert expander.log == [], "nothing was written"
        hat.on("p1")  # it is on already
        assert hat["p1"].powered


def test_a_pool_says_so_before_anybody_waits_for_a_node(lab: Lab, broken: Path) -> None:
    lab.lock_dir = str(broken)
    expander = lab.expander(nodes=0b0001)
    with lab.hat(expander) as hat:
        with pytest.raises(LockError, match=str(broken)):
            hat.check_rails()
        pool = NodePool(hat, probe=lambda name: TcpProbe(name, 80))
        with pytest.raises(LockError, match=str(broken)):
            pool.open()
        assert expander.log == []


def test_a_set_up_needs_the_lock(lab: Lab, broken: Path) -> None:
    lab.lock_dir = str(broken)
    expander = FakeExpander()
    with lab.hat(expander) as hat:
        operations: list[Callable[[], object]] = [hat.init, lambda: hat.on("p1")]
        for operation in operations:
            with pytest.raises(LockError):
                operation()
        assert expander.log == []


@pytest.fixture
def held(tmp_path: Path) -> Generator[None]:
    """Another program has stopped while it held the board's lock, and one that holds the rail."""
    first = FileTurnstile(lock_path(str(tmp_path), "rail-main")).join()
    assert first.is_first()
    with FileLock(lock_path(str(tmp_path), "i2c-1-20")).hold():
        yield
    first.close()


@pytest.mark.usefixtures("held")
def test_off_does_not_wait_long_for_a_program_that_has_stopped(lab: Lab) -> None:
    expander = lab.expander(nodes=0b0011)
    with lab.hat(expander) as hat:
        events = seen(hat)
        began = lab.clock.now()
        hat.off("p1")
        assert expander.levels & 0b1111 == 0b0010
        assert lab.clock.now() - began < 2.1
        assert [type(event) for event in events].count(LockMissed) == 1
        with pytest.raises(LockTimeoutError, match="kept its place on the rail for"):
            hat.on("p1")
        assert expander.levels & 0b1111 == 0b0010


def test_the_command_says_what_is_wrong_and_cuts_the_power(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expander = FakeExpander()
    expander.output, expander.direction = 0b0011, 0

    def open_bus(bus: int | str) -> FakeSMBus:
        return FakeSMBus({0x20: expander})

    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
    monkeypatch.setenv("RPI_CLUSTERHAT_LOCK_DIR", str(broken))
    assert main(["--board", "2.3", "off", "p1"]) == 0
    out, err = capsys.readouterr()
    assert out == "p1 off\n"
    assert err.startswith("rpi-clusterhat: warning: the power is cut without a shared lock: ")
    assert expander.levels & 0b1111 == 0b0010
    assert main(["--board", "2.3", "on", "p1"]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert str(broken) in err
    assert err.count("\n") == 1
    assert expander.levels & 0b1111 == 0b0010
