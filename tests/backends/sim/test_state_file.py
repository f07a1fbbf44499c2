"""A world in a file."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.backend import BankSpec, SimBackend
from rpi_clusterhat_sim.state_file import StateFile
from tests.backends.sim.boards import LINES, is_set_up, opened, world_of

if TYPE_CHECKING:
    from pathlib import Path


def test_one_program_switches_and_another_sees_it(clock: FakeClock, path: str) -> None:
    opened(clock, state=path).write({0: True})
    clock.advance(20)
    other = opened(clock, state=path)
    assert other.read()[0]
    assert world_of(other).node("p1").phase == "up"
    assert [r.what for r in world_of(other).history] == ["write", "on", "up"]


def test_who_only_reads_does_not_write(clock: FakeClock, path: str) -> None:
    opened(clock, state=path)
    before = os.stat(path).st_ino, os.stat(path).st_mtime_ns
    backend = opened(clock, state=path)
    backend.read()
    world_of(backend)
    assert is_set_up(backend)
    backend.close()
    opened(clock, state=path).read()
    with backend.change():
        pass  # nothing was changed
    after = os.stat(path)
    assert (after.st_ino, after.st_mtime_ns) == before


def test_the_boards_of_a_cluster_share_one_file(clock: FakeClock, path: str) -> None:
    shared: dict[str, Any] = {}
    opened(clock, shared, state=path)
    opened(clock, shared, state=path).write({3: True})
    assert world_of(opened(clock, state=path)).node("p8").powered


def test_a_failed_access_counts_in_the_file(clock: FakeClock, path: str) -> None:
    backend = opened(clock, state=path, fault="bus:error@2")
    backend.read()
    with pytest.raises(TransientBusError):
        opened(clock, state=path).write({0: True})
    backend.write({0: True})


def test_a_write_that_meets_a_stuck_line_is_kept(clock: FakeClock, path: str) -> None:
    backend = opened(clock, state=path, fault="p1:stuck-low")
    with pytest.raises(StuckLineError):
        backend.write({0: True, 1: True})
    assert opened(clock, state=path).read()[1]


def test_a_world_that_was_made_otherwise_is_told(clock: FakeClock, path: str) -> None:
    opened(clock, state=path, capacity="4", ambient="10", boot="0.3")
    opened(clock, state=path)
    opened(clock, state=path, capacity="4", ambient="10", boot="0.3")
    for options in ({"capacity": "5"}, {"ambient": "11"}, {"boot": "0.2"}, {"rail": "other"}):
        with pytest.raises(BackendUnavailableError, match="was made with"):
            opened(clock, state=path, **options)
    with pytest.raises(BackendUnavailableError, match="another board's"):
        opened(clock, lines=[Line(6, "p1")], state=path)


def test_a_file_that_is_removed_or_empty_is_a_new_world(clock: FakeClock, path: str) -> None:
    backend = opened(clock, state=path)
    backend.write({0: True})
    os.unlink(path)
    assert not backend.read()[0]
    with open(path, "w"):
        pass
    backend.write({1: True})
    assert backend.read() == {**dict.fromkeys(range(8), False), 1: True}


def damaged(path: str) -> list[bytes]:
    with open(path, "rb") as file:
        good = file.read()
    told: dict[str, Any] = json.loads(good)
    bank = told["banks"][0]
    broken: list[dict[str, Any]] = [
        {**told, "version": 2},
        {key: value for key, value in told.items() if key != "at"},
        {**told, "at": "soon"},
        {**told, "banks": {}},
        {**told, "banks": [{**bank, "rail": "nowhere"}]},
        {**told, "banks": [{**bank, "lines": [{**bank["lines"][0], "driven": False}]}]},
        {**told, "banks": [{**bank, "lines": [{**bank["lines"][0], "offset": -1}]}]},
        {**told, "banks": [{**bank, "lines": [{**bank["lines"][0], "offset": True}]}]},
        {**told, "banks": [{**bank, "model": [*bank["model"], 1.0]}]},
        {**told, "banks": [bank, bank]},
        {**told, "rails": {"main": {"capacity": 0, "brownouts": 0}}},
        {**told, "rails": {"main": {"capacity": 10**400, "brownouts": 0}}},
        {**told, "history": [["never", "on", "p1", "", None]]},
        {**told, "history": [[1.0, "on", "p1"]]},
        {**told, "ambient": None},
    ]
    texts = [b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, good[:-20], good.replace(b"22.0", b"NaN")]
    return texts + [json.dumps(data).encode() for data in broken]


def test_a_damaged_file_is_told_and_left_as_it_is(clock: FakeClock, path: str) -> None:
    backend = opened(clock, state=path)
    backend.write({0: True})
    for content in damaged(path):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(BackendError, match=r"world\.json is not a state of the sim backend .*remove it"):
            backend.write({1: True})
        with pytest.raises(BackendError, match="is not a state"):
            backend.read()
        with pytest.raises(BackendUnavailableError, match="is not a state"):
            opened(clock, state=path)
        with open(path, "rb") as file:
            assert file.read() == content


def test_what_is_no_file_is_not_waited_for(clock: FakeClock, tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with pytest.raises(BackendUnavailableError, match="not a regular file"):
        opened(clock, state=fifo)


def test_a_file_keeps_its_mode_and_a_link_its_place(clock: FakeClock, path: str, tmp_path: Path) -> None:
    opened(clock, state=path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    os.chmod(path, 0o664)
    link = str(tmp_path / "link")
    os.symlink(path, link)
    draft = f"{path}.{os.geteuid()}.new"
    with open(draft, "w"):  # as a killed program would leave it
        pass
    opened(clock, state=link).write({0: True})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o664
    assert os.path.islink(link)
    assert opened(clock, state=path).read()[0]
    assert sorted(os.listdir(tmp_path)) == ["link", "rpi-clusterhat.sim-world.json.lock", "world.json"]


def test_a_file_that_cannot_be_replaced_is_told_and_nothing_is_left(
    clock: FakeClock, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened(clock, state=path)
    for number, error, says in (
        (errno.EPERM, AccessDeniedError, "use a folder"),
        (errno.ENOSPC, BackendError, "No space left"),
    ):

        def fail(source: str, target: str, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(error, match=says):
                backend.write({0: True})
    assert sorted(os.listdir(tmp_path)) == ["rpi-clusterhat.sim-world.json.lock", "world.json"]
    assert not backend.read()[0]


def test_times_of_before_a_reboot_count_up_to_the_boot(path: str) -> None:
    before = FakeClock(50_000.0)
    backend = SimBackend(
        StateFile(path, clock=before, boot="one"), LINES, spec=BankSpec(model={"boot_time": 60})
    )
    backend.write({0: True})
    before.advance(100)
    backend.write({1: True})
    after = FakeClock(30.0)
    state = StateFile(path, clock=after, boot="two")
    with state.look() as world:
        assert [node.phase for node in world.nodes] == ["up", "booting", "off", "off"]
        assert world.node("p1").up_since == -40.0
    after.advance(30)
    with state.look() as world:
        assert world.node("p2").phase == "up"
    after.advance(60_000)
    with state.look() as world:
        assert world.node("p2").up_since == 60.0, "also when the old times are no longer ahead"


def test_times_that_lie_ahead_count_as_now(path: str) -> None:
    SimBackend(StateFile(path, clock=FakeClock(50_000.0), boot=""), LINES).write({0: True})
    early = FakeClock(10.0)
    backend = SimBackend(StateFile(path, clock=early, boot=""), LINES)
    assert world_of(backend).node("p1", at=30.0).phase == "up"
    backend.write({1: True})
    assert world_of(backend).brownouts == 1
    early.advance(20)
    assert world_of(backend).node("p1").up_since == 30.0
