"""The sim backend: as any backend, over several boards, and in a file that processes share."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ClosedError,
    DeviceGoneError,
    PowerLostError,
    SettingError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSetUp
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.testing import BackendConformance, FakeClock
from rpi_clusterhat_sim.backend import BankSpec, SimBackend
from rpi_clusterhat_sim.faults import Fault, parse_faults
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rpi_clusterhat.clock import Clock

LINES = [
    *[Line(i, f"p{i + 1}") for i in range(4)],
    Line(4, "led"),
    Line(5, "hub"),
    Line(6, "alert"),
    Line(7, "wp"),
]


def world_of(backend: SimBackend) -> World:
    with backend.look() as (world, _):
        return world


class TestInMemory(BackendConformance):
    offsets = range(8)

    def reset(self) -> None:
        self.world = World(clock=FakeClock())
        self.bank = self.world.add_bank("0", LINES)

    def open(self) -> SimBackend:
        return SimBackend(self.world, LINES)

    def outside(self) -> Mapping[int, bool]:
        return self.bank.levels()

    def make_unset(self) -> bool:
        self.bank.lose_power()
        return True


class TestInMemoryWithTheJumperSet(TestInMemory):
    def reset(self) -> None:
        self.world = World(clock=FakeClock())
        self.bank = self.world.add_bank("0", LINES, pos=True)


class TestNotHolding(TestInMemory):
    def open(self) -> SimBackend:
        return SimBackend(self.world, LINES, holds=False)


class TestStateFile(BackendConformance):
    @pytest.fixture(autouse=True)
    def _state(self, state: StateFile) -> None:
        self.state = state

    def setup_method(self) -> None:
        self._opened = []

    def open(self) -> SimBackend:
        return SimBackend(self.state, LINES)

    def outside(self) -> Mapping[int, bool]:
        with self.state.look() as world:
            bank = world.banks.get("0")
            return bank.levels() if bank else dict.fromkeys(range(8), False)

    def make_unset(self) -> bool:
        SimBackend(self.state, LINES)
        with self.state.change() as world:
            world.bank("0").lose_power()
        return True


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "world.json")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def state(path: str, clock: FakeClock) -> StateFile:
    return StateFile(path, clock=clock)


def opened(clock: Clock, shared: Any = None, lines: Any = LINES, **options: str) -> SimBackend:
    plugin = load("sim")
    values = parse_options("sim", plugin, options, "test")
    backend = plugin.open(OpenRequest(lines, values, clock, "/nowhere", {} if shared is None else shared))
    assert isinstance(backend, SimBackend)
    return backend


def is_set_up(backend: SupportsSetUp) -> bool:
    return backend.is_set_up  # behind a call, for a type checker takes an attribute to stay as it was seen


# The plugin -------------------------------------------------------------------------------------------


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
    assert opened(clock).private_rail is None
    names = [opened(clock, state=p).private_rail for p in (path, f"{tmp_path}/./world.json", f"{path}2")]
    assert names[0] == names[1] != names[2]
    assert all(name and name.startswith("sim-") for name in names)


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


# The backend ------------------------------------------------------------------------------------------


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
    assert parse_faults("p1:no-boot,p2:slow=2.5,p3:hang,p4:hang=0") == (
        Fault("p1", "no-boot"),
        Fault("p2", "slow", 2.5),
        Fault("p3", "hang"),
        Fault("p4", "hang", 0.0),
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
    ["p1", "p1:", ":no-boot", "p1:slow", "p1:slow=0", "p1:slow=x", "p1:slow=inf", "p1:hang=-1", "led:no-boot",
     "p1:fast=2", "bus:error", "bus:error@0", "bus:error@-1", "bus:error@1x0", "bus:error@1x", "bus:gone@1x2",
     "bus:stuck-high", "bus:no-boot"],
)  # fmt: skip
def test_a_fault_that_cannot_be_read_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(ValueError, match=r"pN:no-boot, .* not"):
        parse_faults(text)


# The state file -----------------------------------------------------------------------------------------


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
        {**told, "banks": [{**bank, "model": [1.0] * 6}]},
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


# Processes ----------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.state_file import StateFile
path, offset, times, holds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "holds"
lines = [Line(i, f"p{i + 1}") for i in range(4)]
backend = SimBackend(StateFile(path, history=None), lines, holds=holds)
for i in range(times):
    backend.write({offset: i % 2 == 0})
print("done", flush=True)
sys.stdin.read()
"""


def program(path: str, offset: int, times: int, holds: str = "holds") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path, str(offset), str(times), holds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_switch_at_once_lose_nothing(path: str) -> None:
    times = 41
    running = [program(path, offset, times) for offset in range(3)]
    for process in running:
        assert process.communicate(timeout=60)[0] == "done\n"
        assert process.returncode == 0
    backend = SimBackend(StateFile(path, history=None), LINES[:4])
    assert backend.read() == {0: True, 1: True, 2: True, 3: False}
    what = [record.what for record in world_of(backend).history]
    assert what.count("write") == 3 * times
    assert (what.count("on"), what.count("off")) == (3 * (times + 1) // 2, 3 * (times - 1) // 2)


def test_lines_that_are_not_held_drop_when_their_process_is_killed(path: str) -> None:
    with program(path, 0, 1, "drops") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        backend = SimBackend(StateFile(path), LINES[:4])
        backend.write({1: True})
        assert backend.read() == {0: True, 1: True, 2: False, 3: False}
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not waited for yet
        assert backend.read() == {0: False, 1: True, 2: False, 3: False}
    assert backend.read() == {0: False, 1: True, 2: False, 3: False}
    backend.write({2: True})
    assert [node.powered for node in world_of(backend).nodes] == [False, True, True, False]


def test_lines_of_a_holder_of_before_a_reboot_have_dropped(path: str, clock: FakeClock) -> None:
    backend = SimBackend(StateFile(path, clock=clock, boot="one"), LINES, holds=False)
    backend.write({0: True})
    assert SimBackend(StateFile(path, clock=clock, boot="one"), LINES).read()[0]
    assert not SimBackend(StateFile(path, clock=clock, boot="two"), LINES).read()[0]
