"""`NodePool`: the same for threads. Its nodes are simulated, its waits are real and short."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncNodePool,
    BackendError,
    ClosedError,
    Cluster,
    LeaseTimeoutError,
    NodeNameError,
    NodePool,
    NotReadyError,
    PoolClosedError,
    PoolSettings,
    PoolState,
    SettingError,
)
from rpi_clusterhat.events import BootFinished
from rpi_clusterhat.testing import simulated
from tests.safety.pools import WorldProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.testing import Simulation

PATIENCE = 20.0
"""Seconds until a test that hangs fails."""


@pytest.fixture
def hat(tmp_path: Path) -> Generator[Cluster]:
    options = {"boot_time": 0.05, "capacity": 100.0}
    with Cluster.open("2.3", backend="sim", options=options, spacing=0.01, lock_dir=str(tmp_path)) as cluster:
        yield cluster


def world(hat: Cluster) -> Simulation:
    return simulated(hat)


def pool_of(hat: Cluster, **settings: Any) -> NodePool:
    changes: dict[str, Any] = {"probe_interval": 0.01, "queue_timeout": PATIENCE, **settings}
    return NodePool(
        hat,
        probe=lambda name: WorldProbe(lambda: world(hat)[name]),
        settings=PoolSettings(**changes),
    )


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "pool" in thread.name and thread.is_alive()]


class Caller(threading.Thread):
    """A thread, and what became of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - the test judges
            self.error = error

    def ended(self) -> BaseException | None:
        self.join(PATIENCE)
        assert not self.is_alive(), "the thread hangs"
        return self.error


def until(holds: Callable[[], bool]) -> None:
    """Lets other threads work."""
    turn = threading.Event()
    for _ in range(2000):
        if holds():
            return
        turn.wait(0.01)
    raise AssertionError("it never came to hold")


def test_a_lease(hat: Cluster) -> None:
    events: list[PoolEvent] = []
    with pool_of(hat) as pool:
        pool.subscribe(events.append)
        with pool.lease("p2") as lease:
            assert lease.node == "p2"
            assert world(hat)["p2"].is_up
            assert pool.nodes["p2"].leases == 1
            lease.touch()
            lease.failed()  # it is looked at, and all is well
        until(lambda: pool.nodes["p2"].leases == 0 and pool.nodes["p2"].state is PoolState.READY)
        assert repr(pool) == "<NodePool p1=off p2=ready p3=off p4=off>"
    assert [type(event) for event in events].count(BootFinished) == 2
    assert pool_threads() == []
    assert hat["p2"].powered


def test_many_threads_share_the_nodes(hat: Cluster) -> None:
    lock = threading.Lock()
    holders = dict.fromkeys(hat.names, 0)
    most = dict.fromkeys(hat.names, 0)

    def work(_: int) -> None:
        with pool.lease() as lease:
            with lock:
                holders[lease.node] += 1
                most[lease.node] = max(most[lease.node], holders[lease.node])
                assert world(hat)[lease.node].is_up
            with lock:
                holders[lease.node] -= 1

    with pool_of(hat, maxconn=2) as pool, ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(300)))
        until(lambda: not any(member.leases for member in pool.nodes.values()))
        assert [member.boots for member in pool.nodes.values()] == [1, 1, 1, 1]
    assert max(most.values()) <= 2
    assert pool_threads() == []


def test_by_hand(hat: Cluster) -> None:
    with pool_of(hat) as pool:
        assert pool.wake("p1")
        assert not pool.wake("p1")
        until(lambda: pool.nodes["p1"].state is PoolState.READY)
        assert pool.power_off("p1")
        until(lambda: pool.nodes["p1"].state is PoolState.OFF)
        assert not hat["p1"].powered


def test_what_is_refused(hat: Cluster) -> None:
    world(hat)["p1"].fail(slow=1000)
    with pool_of(hat) as pool:
        with pytest.raises(NodeNameError), pool.lease("p9"):
            pass
        with pytest.raises(NotReadyError), pool.lease(passive=True):
            pass
        with pytest.raises(LeaseTimeoutError), pool.lease("p1", timeout=0.05):
            pass
        assert pool.nodes["p1"].in_flight == 0
        with pool.lease(key="somebody", exclude={"p1"}) as lease:  # that would take its time
            assert lease.node != "p1"


def test_an_error_in_the_body_gives_the_lease_back(hat: Cluster) -> None:
    with pool_of(hat) as pool:
        with pytest.raises(ZeroDivisionError), pool.lease("p1"):
            _ = 1 / 0
        until(lambda: pool.nodes["p1"].leases == 0)


def test_ctrl_c_while_waiting_gives_the_place_back(hat: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    result: Any = vars(concurrent.futures.Future)["result"]
    world(hat)["p1"].fail(slow=1000)

    def interrupted(future: Any, timeout: float | None = None) -> Any:
        """As if the signal came when the claim has begun to wait."""
        if threading.current_thread() is threading.main_thread():
            until(lambda: pool.nodes["p1"].in_flight == 1)
            raise KeyboardInterrupt
        return result(future, timeout)

    with pool_of(hat) as pool:
        monkeypatch.setattr(concurrent.futures.Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt), pool.lease("p1"):
            pass
        monkeypatch.undo()
        until(lambda: pool.nodes["p1"].in_flight == 0)
        until(lambda: pool.nodes["p1"].state is PoolState.BOOTING)  # the boot goes on


def test_closing_tells_those_who_wait_in_other_threads(hat: Cluster) -> None:
    world(hat)["p1"].fail(slow=1000)
    pool = pool_of(hat)
    pool.open()

    def wait() -> None:
        with pool.lease("p1"):
            pass

    callers = [Caller(wait) for _ in range(8)]
    until(lambda: pool.nodes["p1"].in_flight == 8)
    pool.close()
    for caller in callers:
        assert isinstance(caller.ended(), PoolClosedError)
    pool.close()
    assert pool_threads() == []


@pytest.mark.parametrize("_", range(20))
def test_closing_among_callers_leaves_nobody_waiting(hat: Cluster, _: int) -> None:
    """Whenever a call meets the end: it works, or says that the pool is closed."""
    pool = pool_of(hat)
    pool.open()
    begun = threading.Barrier(5)

    def work() -> None:
        begun.wait(PATIENCE)
        while True:
            pool.wake("p2")
            with pool.lease() as lease:
                lease.touch()

    callers = [Caller(work) for _ in range(4)]
    begun.wait(PATIENCE)
    until(lambda: any(member.boots for member in pool.nodes.values()))
    pool.close()
    for caller in callers:
        assert isinstance(caller.ended(), ClosedError), caller.error
    assert pool_threads() == []


@pytest.mark.parametrize("leaves", [False, True])
def test_one_who_comes_in_the_moment_of_the_end_is_told(
    hat: Cluster, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    pool = pool_of(hat)
    pool.open()
    give = asyncio.run_coroutine_threadsafe
    inside, go_on = threading.Event(), threading.Event()

    def give_late(work: Any, loop: asyncio.AbstractEventLoop) -> Any:
        if threading.current_thread() is late:
            inside.set()
            go_on.wait(PATIENCE)
        return give(work, loop)

    def call() -> None:
        begin.wait(PATIENCE)
        if leaves:
            pool.power_off("p1")
        else:
            with pool.lease():
                pass

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", give_late)
    begin = threading.Event()
    late = Caller(call)
    begin.set()
    assert inside.wait(PATIENCE)
    closes = Caller(pool.close)
    closes.join(0.2)  # as far as it comes
    go_on.set()
    assert closes.ended() is None
    assert isinstance(late.ended(), ClosedError) or (leaves and late.error is None)
    assert pool_threads() == []


@pytest.mark.parametrize("call", ["open", "close"])
def test_ctrl_c_while_it_opens_or_closes_leaves_nothing_behind(
    hat: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    result: Any = vars(concurrent.futures.Future)["result"]
    signals = [KeyboardInterrupt()]

    def interrupted(future: Any, timeout: float | None = None) -> Any:
        if signals and threading.current_thread() is threading.main_thread():
            raise signals.pop()
        return result(future, timeout)

    pool = pool_of(hat)
    if call == "close":
        pool.open()
        pool.wake("p1")
    with monkeypatch.context() as patch:
        patch.setattr(concurrent.futures.Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(pool, call)()
    assert pool_threads() == []
    del pool
    gc.collect()
    assert caplog.text == ""


def test_a_lease_may_outlive_the_pool(hat: Cluster) -> None:
    pool = pool_of(hat)
    pool.open()
    with pool.lease() as lease:
        pool.close(off=True)
        lease.touch()
        lease.failed()
    assert not any(node.powered for node in hat)


def test_use_outside_of_its_time(hat: Cluster) -> None:
    pool = pool_of(hat)
    with pytest.raises(ClosedError, match="not open"):
        pool.wake("p1")
    with pytest.raises(ClosedError, match="not open"), pool.lease():
        pass
    pool.close()
    with pool:
        with pytest.raises(ClosedError, match="opened before"):
            pool.open()
        assert pool.wake("p1")
    with pytest.raises(PoolClosedError, match="is closed"):
        pool.power_off("p1")
    with pytest.raises(ClosedError, match="opened before"):
        pool.open()
    assert pool_threads() == []


def test_a_pool_that_cannot_be_opened_leaves_no_thread(hat: Cluster) -> None:
    world(hat).boards[0].fail_bus(1, times=None)
    pool = pool_of(hat)
    with pytest.raises(BackendError), pool:
        pass
    assert pool_threads() == []
    hat.close()
    closed = pool_of(hat)
    with pytest.raises(ClosedError):
        closed.open()
    assert pool_threads() == []


def test_nodes_with_power_are_taken_over(hat: Cluster) -> None:
    hat.on("p3")
    with pool_of(hat, balance="first") as pool, pool.lease() as lease:
        assert lease.node == "p3"
        assert pool.nodes["p3"].boots == 0


def test_it_is_the_twin_of_the_pool_for_asyncio() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in vars(cls) if not name.startswith("_")}

    attributes = {"cluster", "settings", "now"}  # set in the other's constructor
    assert public(NodePool) == public(AsyncNodePool) | attributes
    for name in public(AsyncNodePool):
        ours, theirs = vars(NodePool)[name], vars(AsyncNodePool)[name]
        assert isinstance(ours, property) is isinstance(theirs, property)
        if not isinstance(ours, property):
            assert list(signature(ours).parameters) == list(signature(theirs).parameters), name


def test_what_it_tells_of_itself(hat: Cluster) -> None:
    pool = pool_of(hat, boot_estimate=7.0, idle_timeout=30.0, min_on_time=0.0)
    assert (pool.settings.boot_estimate, pool.boot_time, pool.estimate(), pool.waiting) == (7.0, 7.0, 7.0, 0)
    assert pool.cluster.names == hat.names
    assert pool.due_at("p1") == math.inf
    with pool:
        with pool.lease("p1"):
            assert pool.boot_time < 7.0
        until(lambda: pool.due_at("p1") < math.inf)
        assert 0.0 < pool.due_at("p1") - pool.now() <= 30.0
        for call in (pool.wake, pool.power_off, pool.due_at):
            with pytest.raises(NodeNameError):
                call("p9")
        wrong: Any = "soon"
        with (
            pytest.raises(SettingError, match=r"^Invalid value for timeout: 'soon'"),
            pool.lease("p2", timeout=wrong),
        ):
            pass
        assert pool.nodes["p2"].state is PoolState.OFF
        pool.refuse_waiting()
        with pytest.raises(PoolClosedError), pool.lease():
            pass


def test_a_subscriber_that_raises_disturbs_no_lease(hat: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: PoolEvent) -> None:
        raise ZeroDivisionError("a subscriber's mistake")

    with caplog.at_level(logging.CRITICAL + 1, "rpi_clusterhat"), pool_of(hat) as pool:
        pool.subscribe(fail)
        with pool.lease("p1") as lease:
            assert lease.node == "p1"


def test_the_cluster_may_be_used_beside_it(hat: Cluster) -> None:
    with pool_of(hat) as pool:
        hat.on("p3")
        until(lambda: pool.nodes["p3"].state is PoolState.READY)
        hat.off("p3")
        until(lambda: pool.nodes["p3"].state is PoolState.OFF)
        assert pool.nodes["p3"].boots == 0
