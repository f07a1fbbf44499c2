"""Several users and processes at one board."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster, LockError, LockMissed, StuckLineError, WaitingForRail
from rpi_clusterhat.clock import SYSTEM
from tests.kernel.inside.banks import RawExpander, open_backend
from tests.kernel.inside.bench import until
from tests.kernel.inside.people import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection

LOCKS = "/run/rpi-clusterhat"
SPACING = 0.3
ROUNDS = 150


@pytest.fixture
def bank() -> Iterator[RawExpander]:
    """A bank whose locks nobody has made yet."""
    for name in os.listdir(LOCKS):
        path = f"{LOCKS}/{name}"
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    bank = RawExpander()
    bank.reset()
    yield bank
    bank.remove()


def _open(bank: RawExpander) -> Cluster:
    return Cluster.open("2.3", backend="i2c", options=bank.options, spacing=SPACING)


def _toggle(bank: RawExpander, lock_dir: str, offset: int, pipe: Connection) -> int:
    """Switches a line to and fro and says how often it was found as nobody here has left it."""
    lines = [line for line in bank.lines if line.offset == offset]
    backend = open_backend(bank.backend, lines, bank.options, lock_dir)
    pipe.recv()
    undone = 0
    for i in range(ROUNDS):
        level = i % 2 == 0
        try:
            backend.write({offset: level})
        except StuckLineError:  # undone as often as it was written
            undone += 1
        else:
            undone += backend.read()[offset] is not level
        time.sleep(0.0005)  # or who has the lock has it again before the other wakes up
    backend.close()
    return undone


def _side_by_side(bank: RawExpander, works: Mapping[str, Callable[[Connection], object]]) -> list[Any]:
    """What each user's work returns; they start together."""
    with ExitStack() as stack:
        users = [stack.enter_context(process(user, work)) for user, work in works.items()]
        for user in users:
            user.tell()
        return [user.hear(60) for user in users]


def _turns(bank: RawExpander) -> list[int]:
    """Which lines each write changed, one write after the other."""
    return [a ^ b for a, b in pairwise([0, *(pins & 0x0F for pins in bank.bus.pin_history())])]


def test_users_who_write_different_lines_never_undo_each_other(bank: RawExpander) -> None:
    bank.bus.delay(200)  # who transfers sleeps meanwhile, so that the other runs
    works = {user: partial(_toggle, bank, LOCKS, offset) for offset, user in enumerate(("alice", "bob"))}
    assert _side_by_side(bank, works) == [0, 0]
    turns = _turns(bank)
    assert set(turns) == {0b0001, 0b0010}
    assert [turns.count(line) for line in (0b0001, 0b0010)] == [ROUNDS, ROUNDS]
    alternations = sum(a != b for a, b in pairwise(turns))
    assert alternations > 50, "the two did not run side by side, so this shows nothing"


def test_without_a_shared_lock_they_would(bank: RawExpander) -> None:
    """The test above can fail."""
    works: dict[str, Callable[[Connection], object]] = {}
    for offset, user in enumerate(("alice", "bob")):
        own = f"{LOCKS}/{user}"
        os.makedirs(own, exist_ok=True)
        os.chmod(own, 0o2770)
        works[user] = partial(_toggle, bank, own, offset)
    for _ in range(20):  # on a busy machine the two may never meet in one round
        bank.bus.delay(200)
        _side_by_side(bank, works)
        turns = _turns(bank)
        if [turns.count(line) for line in (0b0001, 0b0010)] != [ROUNDS, ROUNDS]:
            return
        bank.reset()
    pytest.fail("the two never undid each other")


def test_two_users_keep_the_rails_spacing(bank: RawExpander) -> None:
    def work(nodes: tuple[str, ...], pipe: Connection) -> None:
        with _open(bank) as hat:
            pipe.recv()
            for node in nodes:
                hat.on(node)

    _side_by_side(bank, {"alice": partial(work, ("p1", "p2")), "bob": partial(work, ("p3", "p4"))})
    changes = bank.bus.pin_changes()
    assert [(pins & 0x0F).bit_count() for _, pins in changes] == [1, 2, 3, 4]
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(changes)]
    assert min(gaps) >= SPACING, gaps
    assert max(gaps) <= SPACING + 0.3, gaps


def test_the_locks_are_the_groups_and_do_not_depend_on_who_was_first(bank: RawExpander) -> None:
    def switch(node: str, _: Connection) -> None:
        with _open(bank) as hat:
            hat.on(node)

    for user, node in (("bob", "p1"), ("alice", "p2"), (None, "p3")):
        with process(user, partial(switch, node)) as child:
            child.hear()
    names = [name for name in os.listdir(LOCKS) if name.startswith("rpi-clusterhat.")]
    assert names
    for name in names:
        file = os.stat(f"{LOCKS}/{name}")
        assert stat.S_IMODE(file.st_mode) == 0o660
        assert file.st_gid == os.stat(LOCKS).st_gid
    assert bank.bus.first.pins & 0x0F == 0b0111


def test_who_is_killed_while_switching_on_costs_the_next_one_a_whole_spacing(bank: RawExpander) -> None:
    def work(pipe: Connection) -> None:
        with _open(bank) as hat:
            hat.init()
            pipe.send(None)
            pipe.recv()
            hat.on("p1")

    with process("alice", work) as alice:
        alice.hear()
        bank.bus.forget()
        bank.bus.delay(300_000)
        alice.tell()
        # Two transactions look at the board; in the third it is about to be written.
        until(lambda: bank.bus.transfers >= 2, "alice has looked")
        time.sleep(0.15)
        alice.kill()
    bank.bus.delay(0)
    killed = SYSTEM.now()
    with _open(bank) as hat:
        waits: list[float] = []
        hat.subscribe(
            lambda event: waits.append(event.seconds) if isinstance(event, WaitingForRail) else None
        )
        hat.on("p2")
        assert SYSTEM.now() - killed >= SPACING
        assert waits


def test_who_is_killed_while_waiting_for_the_rail_holds_nobody_up(bank: RawExpander) -> None:
    def work(pipe: Connection) -> None:
        with _open(bank) as hat:
            hat.subscribe(pipe.send)
            hat.on("p1", "p2")

    with process("bob", work) as bob:
        while not isinstance(bob.hear(), WaitingForRail):
            pass
        bob.kill()
    started = SYSTEM.now()
    with _open(bank) as hat:
        hat.on("p3")
    assert SYSTEM.now() - started <= SPACING + 0.5
    assert bank.bus.first.pins & 0x0F == 0b0101


def test_a_cluster_hears_what_another_user_did(bank: RawExpander) -> None:
    def switch(_: Connection) -> None:
        with _open(bank) as hat:
            hat.on("p4")

    with _open(bank) as hat:
        hat.status()
        events: list[object] = []
        hat.subscribe(events.append)
        with process("alice", switch) as alice:
            alice.hear()
        assert hat["p4"].powered
        assert "StateChanged(node='p4'" in str(events)
        assert "outside" in str(events)


def _command(user: str, groups: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rpi_clusterhat", "--board", "2.3", *words]
    return subprocess.run(
        command, user=user, group=user, extra_groups=groups, capture_output=True, text=True, check=False
    )


def test_the_command_of_an_ordinary_user(bank: RawExpander) -> None:
    done = _command("alice", ["i2c", "gpio"], "on", "p1")
    assert done.returncode == 0, done.stderr
    assert bank.bus.first.pins & 0x0F == 0b0001


def test_the_command_of_a_stranger(bank: RawExpander) -> None:
    done = _command("mallory", [], "on", "p1")
    assert done.returncode == 1
    assert "/dev/i2c-1" in done.stderr
    assert "join the group i2c ('sudo usermod -aG i2c mallory')" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert bank.bus.first.pins & 0x0F == 0


def test_who_may_use_the_bus_but_not_the_locks_can_cut_the_power_and_nothing_else(bank: RawExpander) -> None:
    assert _command("alice", ["i2c", "gpio"], "on", "p1", "p2").returncode == 0
    refused = _command("bob", ["i2c"], "on", "p3")
    assert refused.returncode != 0
    assert f"no permission to use the locks in {LOCKS}" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert bank.bus.first.pins & 0x0F == 0b0011
    cut = _command("bob", ["i2c"], "off", "p1")
    assert cut.returncode == 0, cut.stderr
    assert "warning: the power is cut without a shared lock" in cut.stderr
    assert bank.bus.first.pins & 0x0F == 0b0010


def test_a_stranger_holds_nobody_up(bank: RawExpander) -> None:
    with _open(bank) as hat:
        hat.on("p1")
    names = [name for name in os.listdir(LOCKS) if name.startswith("rpi-clusterhat.")]

    def try_to_hold(_: Connection) -> int:
        refused = 0
        for name in names:
            for flags in (os.O_RDONLY, os.O_RDWR):
                try:
                    fcntl.flock(os.open(f"{LOCKS}/{name}", flags), fcntl.LOCK_EX)
                except PermissionError:
                    refused += 1
        return refused

    with process("mallory", try_to_hold) as mallory:
        assert mallory.hear() == 2 * len(names) > 0


@pytest.mark.parametrize("lock_dir", ["/usr", "/run/nothing"], ids=["read-only", "missing"])
def test_without_locks_off_works_and_on_is_refused(bank: RawExpander, lock_dir: str) -> None:
    with _open(bank) as hat:
        hat.on("p1", "p2")
    with Cluster.open("2.3", backend="i2c", options=bank.options, lock_dir=lock_dir) as hat:
        told: list[object] = []
        hat.subscribe(told.append)
        with pytest.raises(LockError, match=lock_dir):
            hat.on("p3")
        hat.off("p1")
        assert bank.bus.first.pins & 0x0F == 0b0010
        assert [type(event) for event in told].count(LockMissed) == 1


def _refusal(groups: list[str]) -> str:
    """What alice, who is in the group i2c by the user database, is told in a session with these groups."""
    done = _command("alice", groups, "status")
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_member_is_not_told_to_join_the_group(bank: RawExpander) -> None:
    assert "alice is in the group i2c, but was not when this session began: log in again" in _refusal([])
    device = os.stat("/dev/i2c-1")
    try:
        os.chmod("/dev/i2c-1", 0o600)
        told = _refusal(["i2c"])
        assert "it has the owner root, the group i2c and the mode 0600: 'sudo " in told
        os.chmod("/dev/i2c-1", 0o660)
        os.chown("/dev/i2c-1", 0, 0)
        told = _refusal(["i2c"])
        assert "it has the owner root, the group root and the mode 0660: 'sudo " in told
    finally:
        os.chown("/dev/i2c-1", device.st_uid, device.st_gid)
        os.chmod("/dev/i2c-1", stat.S_IMODE(device.st_mode))
