"""A fork beside threads: the child has the locks that they held, and none of the threads."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster, NodePool, PoolClosedError, State, TcpProbe, WaitingForRail
from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.testing import FakeClock, FakeExpander
from tests.lab import Lab
from tests.safety.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rpi_clusterhat.waiting import Step


@contextmanager
def within(lock: threading.Lock | threading.RLock) -> Generator[None]:
    """Another thread holds the lock meanwhile."""
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


def ends(child: Child) -> int:
    """Its exit code, in a few seconds at most."""
    ended = threading.Event()
    timer = threading.Timer(10.0, lambda: None if ended.is_set() else child.kill())
    timer.start()
    try:
        return child.wait()
    finally:
        ended.set()
        timer.cancel()
        timer.join()


def test_a_child_switches_while_another_thread_of_its_parent_reads(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    memory = lab.memory()
    hat = lab.v1(memory)
    reads, go_on = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        reads.set()
        go_on.wait(60)

    def in_the_child() -> None:
        memory.before = str
        hat.on("p1", "p2")
        assert hat["p1"].state is State.ON
        hat.off("all")
        hat.close()

    memory.before = slow
    thread = threading.Thread(target=hat.status)
    thread.start()
    reads.wait(60)
    try:
        child = Child(in_the_child)
        assert ends(child) == 0
    finally:
        go_on.set()
        thread.join()
    memory.before = str
    assert not hat["p1"].powered, "the parent's own goes on, and knows nothing of a copy's memory"
    hat.on("p1")


LOCKS: dict[str, Callable[[], tuple[threading.Lock | threading.RLock, Callable[[], object]]]] = {}


def holder(
    make: Callable[[], tuple[threading.Lock | threading.RLock, Callable[[], object]]],
) -> Callable[[], tuple[threading.Lock | threading.RLock, Callable[[], object]]]:
    LOCKS[make.__name__] = make
    return make


@holder
def a_turnstile() -> tuple[threading.Lock, Callable[[], object]]:
    turnstile = LocalTurnstile()
    return vars(turnstile)["_lock"], turnstile.join


@holder
def a_clock() -> tuple[threading.Lock, Callable[[], object]]:
    clock = FakeClock()
    return vars(clock)["_lock"], lambda: clock.advance(1.0)


@holder
def an_expander() -> tuple[threading.RLock, Callable[[], object]]:
    expander = FakeExpander()
    return vars(expander)["_lock"], lambda: expander.transfer([b"\x00", 1])


@holder
def a_simulated_world() -> tuple[threading.RLock, Callable[[], object]]:
    from rpi_clusterhat_sim.world import World

    world = World(clock=FakeClock())
    return world.timeline.lock, lambda: world.add_bank("0", []).read()


@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)
def test_locks_that_other_threads_hold_are_free_in_a_child(
    make: Callable[[], tuple[threading.Lock | threading.RLock, Callable[[], object]]],
) -> None:
    lock, use = make()
    with within(lock):
        assert ends(Child(use)) == 0
    use()


def test_a_child_of_a_child(tmp_path: Path) -> None:
    hat = Lab(tmp_path).v1(Lab(tmp_path).memory())

    def grandchild() -> None:
        hat.on("p1")

    def child() -> None:
        hat.on("p1")
        assert ends(Child(grandchild)) == 0

    assert ends(Child(child)) == 0


def test_who_waits_in_the_parent_does_not_wait_in_a_child() -> None:
    clock = FakeClock(by_hand=True)
    with Cluster.open(backend="sim", clock=clock) as hat:
        hat.on("p1")
        waits = threading.Event()
        hat.subscribe(lambda event: waits.set() if isinstance(event, WaitingForRail) else None)

        def sleep(_: float) -> None:
            time.sleep(0.01)

        vars(clock)["sleep"] = sleep
        thread = threading.Thread(target=hat.on, args=("p2",))
        thread.start()
        waits.wait(10)

        def in_the_child() -> None:
            hat.off("all")
            assert hat["p2"].state is State.OFF
            del vars(clock)["sleep"]
            clock.advance(5.0)
            hat.on("p3")
            assert hat["p3"].powered

        assert ends(Child(in_the_child)) == 0
        clock.advance(5.0)
        thread.join()
        assert hat["p2"].powered


def test_one_renewal_that_fails_keeps_no_other_from_being_made() -> None:
    class Owner:
        renewed = False

        def renew(self) -> None:
            self.renewed = True

        def fail(self) -> None:
            raise OSError("no more files")

    first, second = Owner(), Owner()
    after_fork(first, Owner.fail)
    after_fork(second, Owner.renew)

    def in_the_child() -> None:
        assert second.renewed

    assert ends(Child(in_the_child)) == 0


class Up(Probe):
    """Each node is up as soon as it has power."""

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        yield from ()
        return Verdict(True, "up")


def test_a_pool_that_a_child_has_inherited_says_so() -> None:
    with Cluster.open(backend="sim", spacing=0) as hat, NodePool(hat, probe=lambda _: Up()) as pool:
        with pool.lease("p1"):
            pass

        def lease() -> None:
            with pool.lease("p1"):
                pass

        def in_the_child() -> None:
            for call in (lease, lambda: pool.wake("p2")):
                with pytest.raises(PoolClosedError, match="of the process that this one was forked from"):
                    call()
            pool.close()
            assert ends(Child(pool.close)) == 0

        assert ends(Child(in_the_child)) == 0
        lease()


def test_nothing_of_a_simulated_node_lives_on_in_a_child(tmp_path: Path) -> None:
    """A child has copies of what its parent's nodes have open."""
    options = {"serve": True, "boot_time": 0.01, "state": str(tmp_path / "world.json")}
    with Cluster.open(backend="sim", options=options, spacing=0) as hat:
        address = hat.addresses["p1"]
        hat.on("p1", wait=TcpProbe(*address))
        with socket.create_connection(address, 5) as client:
            goes, go = os.pipe()

            def in_the_child() -> None:
                os.read(goes, 1)
                assert not TcpProbe(*address).ask().up
                hat.off("all")
                hat.close()

            child = Child(in_the_child)
            hat.off("p1")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            os.write(go, b"x")
            assert ends(child) == 0
            os.close(goes)
            os.close(go)
