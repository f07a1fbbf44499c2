"""Processes of several users on one rail, some of which are killed and some stopped at any moment."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.locks import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from tests.safety.processes import USERS, Child, Entry, Journal, lock_folder, open_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

SPACING = 0.1
PROCESSES = 8
SECONDS = 9.0
STOPPED = 0.3
DAWDLE = 0.03
"""A third of the spacing: many of the signals arrive between the note of a power-up and its write."""
SLACK = 3.0
"""Seconds that a busy machine may keep everybody waiting."""
TOLERANCE = 1e-5


def switch_for_ever(journal: Journal, folder: str, name: str) -> Callable[[], None]:
    def work() -> None:
        with open_cluster(journal, folder, SPACING, dawdle=DAWDLE, name=name) as hat:
            while True:
                hat.on("p1")
                hat.off("p1")

    return work


def check_spacing(ups: list[Entry]) -> None:
    for before, entry in itertools.pairwise(ups):
        assert entry.at - before.at >= SPACING - TOLERANCE, (before, entry)


def check_turns(ups: list[Entry], pids: set[int]) -> None:
    """Between two turns of one process no other has more than its own, and one that it had waited for."""
    for pid in pids:
        turns = [i for i, entry in enumerate(ups) if entry.pid == pid]
        for start, end in itertools.pairwise(turns):
            between = Counter(entry.pid for entry in ups[start + 1 : end])
            assert all(n <= 2 for n in between.values()), (pid, between)


def test_killed_and_stopped_processes_of_two_users_keep_the_spacing() -> None:
    rng = random.Random(20)
    with lock_folder() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        children = [
            Child(switch_for_ever(journal, folder, f"w{i}/"), USERS[i % len(USERS)]) for i in range(PROCESSES)
        ]
        survivors = {children[0].pid, children[1].pid}
        waking: list[tuple[float, Child]] = []
        killed = 0
        try:
            end = SYSTEM.now() + SECONDS
            while (now := SYSTEM.now()) < end:
                SYSTEM.sleep(rng.uniform(0.02, 0.15))
                for at, child in waking:
                    if at <= now and child.stopped:
                        child.go_on()
                i = rng.randrange(2, PROCESSES)
                if rng.random() < 0.5:
                    children[i].kill()
                    killed += 1
                    children[i] = Child(switch_for_ever(journal, folder, f"w{i}/"), USERS[i % len(USERS)])
                elif not children[i].stopped:
                    children[i].stop()
                    waking.append((now + rng.uniform(0.0, STOPPED), children[i]))
            assert not any(child.has_ended for child in children)
        finally:
            for child in children:
                child.kill()
        ups = journal.power_ups()
        journal.close()
        check_spacing(ups)
        check_turns(ups, survivors)
        # Who is stopped while it is its turn keeps the others waiting for that time, and nobody longer.
        gaps = [later.at - entry.at for entry, later in itertools.pairwise(ups)]
        assert max(gaps) < STOPPED + 0.15 + 2 * SPACING + 2 * DAWDLE + SLACK
        assert killed > 20
        assert len({entry.pid for entry in ups}) > PROCESSES
        counts = Counter(entry.pid for entry in ups)
        for pid in survivors:
            assert counts[pid] >= len(ups) / PROCESSES / 2, counts
        # Nothing is left of those who were killed.
        ticket = FileTurnstile(lock_path(folder, "rail-main")).join()
        assert ticket.is_first()
        ticket.close()
        assert sorted(os.listdir(folder)) == ["journal", "rpi-clusterhat.rail-main.lock"]


def test_undisturbed_processes_take_turns() -> None:
    with lock_folder() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        children = [
            Child(switch_for_ever(journal, folder, f"w{i}/"), USERS[i % len(USERS)]) for i in range(5)
        ]
        try:
            SYSTEM.sleep(4.0)
            assert not any(child.has_ended for child in children)
        finally:
            for child in children:
                child.kill()
        ups = journal.power_ups()
        journal.close()
        check_spacing(ups)
        check_turns(ups, {child.pid for child in children})
        counts = Counter(entry.pid for entry in ups)
        assert len(counts) == len(children)
        assert max(counts.values()) <= 2 * min(counts.values()), counts


def test_a_process_that_is_stopped_in_the_middle_of_a_power_up_keeps_the_spacing() -> None:
    """Between the note of the power-up and the write, for longer than the spacing."""
    with lock_folder() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        ready, go = os.pipe()

        def slow() -> None:
            hat = open_cluster(journal, folder, SPACING)
            backend = hat.banks[0].backend
            write = backend.write

            def wait_and_write(levels: dict[int, bool]) -> None:
                os.write(go, b"x")
                SYSTEM.sleep(3 * SPACING)
                write(levels)

            backend.write = wait_and_write  # type: ignore[method-assign,assignment]
            hat.on("p1")

        def quick() -> None:
            open_cluster(journal, folder, SPACING).on("p1")

        first = Child(slow, USERS[0])
        second: Child | None = None
        os.close(go)
        try:
            assert os.read(ready, 1) == b"x"
            first.stop()
            second = Child(quick, USERS[-1])
            SYSTEM.sleep(4 * SPACING)
            assert journal.power_ups() == []
            first.go_on()
            assert first.wait() == 0
            assert second.wait() == 0
            ran = [first.pid, second.pid]
        finally:
            first.kill()
            if second is not None:
                second.kill()
            os.close(ready)
        ups = journal.power_ups()
        journal.close()
        assert [entry.pid for entry in ups] == ran
        check_spacing(ups)


def test_a_process_that_is_killed_in_the_middle_of_a_power_up_costs_one_spacing() -> None:
    with lock_folder() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        ready, go = os.pipe()

        def work() -> None:
            hat = open_cluster(journal, folder, SPACING)
            backend = hat.banks[0].backend
            write = backend.write

            def write_and_hang(levels: dict[int, bool]) -> None:
                SYSTEM.sleep(2 * SPACING)
                write(levels)
                os.write(go, b"x")
                SYSTEM.sleep(60)

            backend.write = write_and_hang  # type: ignore[method-assign,assignment]
            hat.on("p1")

        child = Child(work, USERS[0])
        os.close(go)
        try:
            assert os.read(ready, 1) == b"x"
        finally:
            child.kill()
            os.close(ready)
        began = SYSTEM.now()
        open_cluster(journal, folder, SPACING).on("p2")
        ups = journal.power_ups()
        journal.close()
        check_spacing(ups)
        assert SPACING - TOLERANCE <= ups[1].at - began < SPACING + SLACK


def test_the_wall_clock_may_say_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by a year, then forth by two, between and during the power-ups."""
    real = time.time()
    steps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real + (next(steps) % 3 - 1) * 365 * 86400)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SYSTEM.now() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    with lock_folder() as folder:
        journal = Journal(os.path.join(folder, "journal"))
        with open_cluster(journal, folder, SPACING) as hat:
            hat.on("p1", "p2", "p3")
        with open(lock_path(folder, "rail-main"), "rb") as file:
            noted = float(file.read()[64:].split()[0])
        ups = journal.power_ups()
        journal.close()
    check_spacing(ups)
    assert 0.0 <= noted - ups[-1].at < SLACK
    assert ups[-1].at - ups[0].at < 2 * SPACING + SLACK
