"""AsyncCluster: the same plans in an event loop, cancelled at each of its awaits."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    ClosedError,
    NodeFailedError,
    NodeNameError,
    State,
    StateChanged,
    SupersededError,
    TransientBusError,
    UnsupportedError,
    WaitingForRail,
    _cluster_base,
)
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.power import plans
from rpi_clusterhat.testing import FakeExpander

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from rpi_clusterhat import Event
    from rpi_clusterhat.power.bank import Bank
    from rpi_clusterhat.power.plans import Plan
    from rpi_clusterhat.waiting import Steps
    from tests.lab import Lab, MemoryBackend

T = TypeVar("T")
POWER = (6, 13, 19, 26)


def run(work: Callable[[], Coroutine[Any, Any, T]], *, threads: bool = False) -> T:
    """Runs work in an event loop. Without ``threads`` calls for worker threads run in the loop, one iteration
    later, so that the order of everything is the same each time."""

    async def main() -> T:
        if not threads:
            loop = asyncio.get_running_loop()

            def later(_: object, call: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
                future: asyncio.Future[Any] = loop.create_future()

                def now() -> None:
                    try:
                        answer = call(*args)
                    except BaseException as error:  # noqa: BLE001  # as an executor does
                        future.set_exception(error)
                    else:
                        future.set_result(answer)

                loop.call_soon(now)
                return future

            vars(loop)["run_in_executor"] = later
        return await work()

    return asyncio.run(main())


def async_v1(lab: Lab, *backends: MemoryBackend) -> AsyncCluster:
    return AsyncCluster(lab.banks(*backends, version="1.3"), lab.clock)


def states(hat: AsyncCluster) -> list[str]:
    return [part.partition("=")[2] for part in repr(hat)[1:-1].split(": ")[1].split()]


def truthful(hat: AsyncCluster, bank: MemoryBackend) -> None:
    for state, line in zip(states(hat), POWER, strict=True):
        assert state == "unknown" or (state in ("on", "ready")) is bank.levels[line]


@pytest.mark.parametrize("threads", [False, True])
def test_everything_once(lab: Lab, threads: bool) -> None:
    expander = lab.expander(nodes=0b1000)

    async def work() -> None:
        async with lab.async_hat(expander) as hat:
            events: list[Event] = []
            hat.subscribe(events.append)
            await hat.on("p1", "p2")
            assert [e.new for e in events if isinstance(e, StateChanged)] == [
                *(State.QUEUED, State.QUEUED),
                *(State.ON, State.ON),
            ]
            status = await hat.status()
            assert [node.powered for node in status.nodes.values()] == [True, True, False, True]
            await hat.off("p2")
            await hat.cycle("p1", pause=0.5)
            assert await hat["p1"].powered()
            node = hat["p3"]
            await node.on()
            await node.cycle(pause=0.1)
            assert (await node.state(), node.desired, node.failure) == (State.ON, True, None)
            await node.off()
            assert repr(node) == "<AsyncNode p3 off>"
            assert not await hat.init()
            assert [n.name for n in hat] == hat.names
            for function in (hat.alert, hat.led, hat.write_protect):
                assert function.supported
                await function.on()
                assert await function.is_on()
                await function.off()
                assert not await function.is_on()
            await hat.hub.reset()
            assert await hat.hub.is_on()
            with pytest.raises(NodeNameError):
                await hat.on("p9")
            with pytest.raises(NodeNameError):
                _ = hat["p9"]
        with pytest.raises(ClosedError):
            await hat.on("all")
        await hat.close()

    run(work, threads=threads)
    assert expander.levels & 0x0F == 0b1001


def test_errors_come_out(lab: Lab) -> None:
    expander = lab.expander("3.1")

    async def work() -> None:
        hat = lab.async_hat(expander, version="3.1")
        with pytest.raises(UnsupportedError):
            await hat.led.on()
        expander.stuck = {1: False}
        with pytest.raises(NodeFailedError):
            await hat.on("p1", "p2", "p3")
        assert states(hat) == ["on", "failed", "on", "off"]
        assert hat["p2"].failure
        expander.stuck = {}
        expander.fail(at=3, times=3)
        with pytest.raises(TransientBusError):
            await hat.off("p1")
        assert states(hat)[0] == "on"

    run(work)


def test_an_expander_that_nobody_set_up(lab: Lab) -> None:
    expander = FakeExpander()

    async def work() -> None:
        hat = lab.async_hat(expander)
        assert not (await hat.status()).boards[0].set_up
        assert expander.writes == 0
        assert await hat.init()
        assert not await hat.init()

    run(work)


def test_many_tasks_keep_the_spacing_and_switch_each_node_once(lab: Lab) -> None:
    bank = lab.memory()
    times: list[float] = []

    def note(access: str) -> None:
        if access == "write":
            times.append(lab.clock.now())

    bank.after = note

    async def work() -> None:
        hat = async_v1(lab, bank)
        await asyncio.gather(*(hat[name].on() for name in hat.names * 3))
        assert states(hat) == ["on"] * 4

    run(work)
    assert sorted(line for levels in bank.written for line in levels) == [*POWER]
    assert all(b - a >= 2.0 - 1e-6 for a, b in pairwise(times))


def test_off_by_another_task_supersedes(lab: Lab) -> None:
    bank = lab.memory()

    async def work() -> None:
        hat = async_v1(lab, bank)
        waits = asyncio.Event()
        hat.subscribe(lambda e: waits.set() if isinstance(e, WaitingForRail) else None)
        task = asyncio.create_task(hat.on("p1", "p2", "p3"))
        await waits.wait()
        await hat.off("p2")
        with pytest.raises(SupersededError, match="p2"):
            await task
        assert states(hat) == ["on", "off", "on", "off"]

    run(work)


OPERATIONS: dict[str, Callable[[AsyncCluster], Awaitable[object]]] = {
    "on": lambda hat: hat.on("p1", "p2"),
    "off": lambda hat: hat.off("p4"),
    "cycle": lambda hat: hat.cycle("p1", "p4"),
    "status": lambda hat: hat.status(),
    "alert": lambda hat: hat.alert.on(),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_task_that_is_cancelled_at_any_await(lab: Lab, operation: str, times: int) -> None:
    async def work(at: int, bank: MemoryBackend) -> bool:
        hat = async_v1(lab, bank)
        task = asyncio.ensure_future(OPERATIONS[operation](hat))
        for _ in range(at):
            await asyncio.sleep(0)
        if task.done():
            await task
            return False
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        truthful(hat, bank)
        assert "queued" not in states(hat)
        assert bank.levels[5] is False or operation == "alert"
        lab.clock.advance(2.0)
        start = lab.clock.now()
        await async_v1(lab, lab.memory()).on("p3")
        assert lab.clock.now() == start, "a place in the queue was left behind"
        lab.clock.advance(10.0)
        return True

    at = 0
    while run(partial(work, at, lab.memory(on=(4,)))):
        at += 1
    assert at > 2


def test_an_error_between_two_steps_keeps_no_place_on_the_rail(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(nodes: Sequence[str], *_: object, **__: object) -> Plan[None]:
        yield plans.Read(tuple(nodes), desired=True)
        yield plans.Queue(tuple(nodes))
        yield plans.TakeTurn(nodes[0])
        raise ZeroDivisionError

    monkeypatch.setattr(plans, "switch_on", careless)

    async def work() -> None:
        hat = async_v1(lab, lab.memory())
        with pytest.raises(ZeroDivisionError) as held:
            await hat.on("p1")
        monkeypatch.undo()
        assert states(hat) == ["off"] * 4
        await async_v1(lab, lab.memory()).on("p1")
        assert lab.clock.sleeps == []
        assert held.value

    run(work)


def test_a_hub_reset_that_is_cancelled_leaves_the_hub_on(lab: Lab) -> None:
    at = 0
    cancelled = True
    while cancelled:
        expander = lab.expander()

        async def work(expander: FakeExpander = expander, at: int = at) -> bool:
            task = asyncio.ensure_future(lab.async_hat(expander).hub.reset())
            for _ in range(at):
                await asyncio.sleep(0)
            if task.done():
                await task
                return False
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return True

        cancelled = run(work)
        assert expander.levels == 0b1001_0000
        at += 1


def test_who_is_cancelled_while_opening_leaves_nothing_open(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = lab.memory()

    def open_banks(*_: object) -> list[Bank]:
        return lab.banks(bank, version="1.3")

    monkeypatch.setattr(_cluster_base, "open_banks", open_banks)

    async def work(at: int) -> bool:
        async def open_() -> AsyncCluster:
            return await AsyncCluster.open("1.3", lock_dir=lab.lock_dir, clock=lab.clock)

        task = asyncio.ensure_future(open_())
        for _ in range(at):
            await asyncio.sleep(0)
        if task.done():
            await (await task).close()
            return False
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return True

    at = 0
    while run(partial(work, at)):
        assert bank.closed == (at > 0), at
        bank.closed = 0
        at += 1
    assert at > 1
    assert bank.closed == 1


def test_the_event_loop_never_waits_for_a_transfer(lab: Lab) -> None:
    bank = lab.memory()
    go_on = threading.Event()
    waited: list[bool] = []

    async def work() -> None:
        loop, began = asyncio.get_running_loop(), asyncio.Event()

        def hang(_: str) -> None:
            bank.before = str
            loop.call_soon_threadsafe(began.set)
            waited.append(go_on.wait(20.0))

        bank.before = hang
        hat = async_v1(lab, bank)
        task = asyncio.create_task(hat.status())
        await began.wait()
        end = hat.subscribe(print)
        end()
        assert repr(hat)
        assert hat["p1"].desired is None
        other = asyncio.create_task(hat["p1"].powered())
        await asyncio.sleep(0)
        go_on.set()
        await task
        assert not await other

    run(work, threads=True)
    assert waited == [True]


def test_the_event_loop_does_not_wait_for_a_board_to_report_a_probe(lab: Lab) -> None:
    waited: list[bool] = []

    async def work() -> None:
        hat = async_v1(lab, lab.memory())
        lock = hat.banks[0].lock
        loop = asyncio.get_running_loop()
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                waited.append(go_on.wait(20.0))

        class HeldProbe(Probe):
            def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
                threading.Thread(target=hold).start()
                held.wait(20.0)
                loop.call_soon(go_on.set)
                yield from ()
                return Verdict(True, "it answers")

        await hat.on("p1", wait=HeldProbe())
        assert await hat["p1"].state() is State.READY

    run(work, threads=True)
    assert waited == [True]
