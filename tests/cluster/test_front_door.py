"""What a script meets first: how nodes are named, blocks, waits, equality."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    BootTimeoutError,
    Cluster,
    NodeNameError,
    SettingError,
    State,
    StateChanged,
    _cluster_base,
)
from rpi_clusterhat.errors import TransientBusError
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.waiting import Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rpi_clusterhat.waiting import Step, Steps
    from tests.lab import Lab

ON = {6: 1, 13: 2, 19: 3, 26: 4}


class PowerProbe(Probe):
    """Answers where the node's line is high, and counts."""

    def __init__(self, levels: dict[int, bool], offset: int, *, from_: int = 1) -> None:
        self.levels = levels
        self.offset = offset
        self.asked = 0
        self.from_ = from_

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        self.asked += 1
        up = self.levels[self.offset] and self.asked >= self.from_
        yield Sleep(0.0)
        return Verdict(up, "it answers" if up else "no answer")


def address(name: str) -> tuple[str, int]:
    return name, 80


def on(levels: dict[int, bool]) -> list[int]:
    return [number for offset, number in ON.items() if levels[offset]]


def test_nodes_are_named_by_text_by_node_and_by_lists_of_them(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    hat.on(["p1", "p2"])
    assert on(bank.levels) == [1, 2]
    hat.off(hat["p1"])
    assert on(bank.levels) == [2]
    hat.on([hat["p3"], "p4"], "p1")
    assert on(bank.levels) == [1, 2, 3, 4]
    hat.off(node for node in hat if node.name != "p2")
    assert on(bank.levels) == [2]
    hat.cycle({"p2": "a key is a name"}, pause=0.0)
    hat.off("all")
    assert on(bank.levels) == []


@pytest.mark.parametrize("nothing", [(), ([],), ((), []), ("",), (" , ",), ([""],)])
def test_nothing_named_is_an_error_and_never_all(lab: Lab, nothing: tuple[Any, ...]) -> None:
    bank = lab.memory(on=(1, 2))
    hat = lab.v1(bank)
    calls: list[Callable[..., object]] = [hat.on, hat.off, hat.cycle, hat.select]
    for call in calls:
        with pytest.raises(NodeNameError, match="all"):
            call(*nothing)
    with pytest.raises(NodeNameError, match="all"), hat.powered(*nothing):
        pass
    assert bank.written == []


@pytest.mark.parametrize("wrong", [4, None, 1.5, [None], [["p1"], 2], b"p1"])
def test_what_is_no_node_is_refused_before_anything_is_switched(lab: Lab, wrong: Any) -> None:
    bank = lab.memory()
    with pytest.raises(NodeNameError, match="is no node"):
        lab.v1(bank).on("p1", wrong)
    assert bank.written == []


def test_a_node_of_another_cluster_is_refused(lab: Lab) -> None:
    bank, other = lab.memory(), lab.memory()
    with pytest.raises(NodeNameError, match="another cluster"):
        lab.v1(bank).on(lab.v1(other)["p1"])
    assert bank.written == other.written == []


def test_equal_nodes_and_membership(lab: Lab) -> None:
    hat, other = lab.v1(lab.memory()), lab.v1(lab.memory())
    node = hat["p1"]
    assert node == hat["p1"]
    assert {node, hat["p1"], hat["p2"]} == {hat[n] for n in ("p1", "p2")}
    assert node != hat["p2"]
    assert node != other["p1"]
    assert node != "p1"
    assert node in hat
    assert node not in other
    assert "p1" in other
    again = Cluster.of(hat)
    assert again["p1"] == node
    assert node in again
    assert hat.alert == hat.alert != hat.hub
    assert repr(hat.alert) == "<Function alert>"


def test_powered_is_on_for_the_block_and_off_after_it(lab: Lab) -> None:
    bank = lab.memory(on=(4,))
    hat = lab.v1(bank)
    with hat.powered("p1", hat["p2"]) as nodes:
        assert [node.name for node in nodes] == ["p1", "p2"]
        assert on(bank.levels) == [1, 2, 4]
    assert on(bank.levels) == [4]
    with pytest.raises(ZeroDivisionError), hat.powered("p1"):
        raise ZeroDivisionError
    assert on(bank.levels) == [4]


def test_powered_that_cannot_switch_on_switches_off(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)

    def fail(what: str) -> None:
        if what == "write" and len(bank.written) == 1:
            bank.before = str
            raise TransientBusError(121, "gone")

    bank.before = fail
    with pytest.raises(TransientBusError), hat.powered("p1", "p2"):
        pytest.fail("it is not entered")
    assert on(bank.levels) == []


def test_on_waits_until_the_nodes_are_ready(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    probes = {f"p{n}": PowerProbe(bank.levels, offset, from_=3) for offset, n in ON.items()}
    hat.on("p1", "p3", wait=probes.__getitem__)
    assert [probes[name].asked for name in probes] == [3, 0, 3, 0]
    assert [str(node.state) for node in hat] == ["ready", "off", "ready", "off"]
    hat["p2"].on(wait=probes["p2"])
    assert hat["p2"].state is State.READY


def test_on_says_which_nodes_are_not_ready_in_time(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    never = {f"p{n}": PowerProbe(bank.levels, offset, from_=10**9) for offset, n in ON.items()}
    start = lab.clock.now()
    with pytest.raises(BootTimeoutError, match=r"^not ready within 7 s: p1: no answer.*; p2: no answer"):
        hat.on("p1", "p2", wait=never.__getitem__, boot_timeout=7)
    assert on(bank.levels) == [1, 2], "they keep their power"
    assert lab.clock.now() - start == pytest.approx(2.0 + 7.0, abs=0.11)


WRONG_WAITS: list[tuple[str, dict[str, Any]]] = [
    ("p1", {"wait": "probe"}),
    ("p1", {"wait": address}),
    ("p1,p2", {"wait": PowerProbe({}, 1)}),
    ("p1", {"wait": PowerProbe({}, 1), "boot_timeout": 0}),
    ("p1", {"boot_timeout": -1}),
]


@pytest.mark.parametrize(("nodes", "changes"), WRONG_WAITS)
def test_a_wrong_wait_switches_nothing(lab: Lab, nodes: str, changes: Any) -> None:
    bank = lab.memory()
    with pytest.raises(SettingError):
        lab.v1(bank).on(nodes, **changes)
    assert bank.written == []


def test_a_probe_of_an_earlier_boot_does_not_count(lab: Lab) -> None:
    bank = lab.memory(on=(1,))
    hat = lab.v1(bank)
    node = hat["p1"]
    hat.status()
    before = node.power_ups
    node.cycle()
    assert node.power_ups == before + 1
    assert not node.report_probe(up=True, power_ups=before)
    assert str(node.state) == "on"
    assert node.report_probe(up=True, power_ups=before + 1)
    assert str(node.state) == "ready"


class AnsweredBefore(Probe):
    """Its first answer is that of a boot that is over when it comes."""

    def __init__(self, restart: Callable[[], object]) -> None:
        self.asked = 0
        self._restart = restart

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        yield from ()
        self.asked += 1
        if self.asked == 1:
            self._restart()
        return Verdict(self.asked != 2, "the answer")


def test_who_waits_for_a_node_takes_no_answer_of_an_earlier_boot(lab: Lab) -> None:
    hat = lab.v1(lab.memory())
    probe = AnsweredBefore(lambda: hat.cycle("p1"))
    states: list[State] = []
    hat.subscribe(lambda event: states.append(event.new) if isinstance(event, StateChanged) else None)
    hat.on("p1", wait=probe)
    assert probe.asked == 3
    assert [str(state) for state in states if state in (State.ON, State.READY)] == ["on", "on", "ready"]


def test_a_node_that_halts_is_stopping(lab: Lab) -> None:
    hat = lab.v1(lab.memory(on=(1,)))
    node = hat["p1"]
    hat.status()
    node.report_halt(under_way=True)
    assert str(node.state) == "stopping"
    node.report_halt(under_way=False)
    assert str(node.state) == "on"
    node.report_probe(up=True)
    node.report_halt(under_way=True)
    assert str(node.state) == "stopping"
    node.off()
    node.report_halt(under_way=True)
    assert str(node.state) == "off", "what is off does not halt"


def test_async_with_needs_no_await_and_takes_one(lab: Lab, tmp_path: Path) -> None:
    said: dict[str, Any] = {"backend": "sim", "lock_dir": str(tmp_path), "clock": lab.clock}

    async def work() -> None:
        async with AsyncCluster.open(**said) as hat, hat.powered("p1") as [node]:
            assert await node.powered()
            assert node in hat
        async with await AsyncCluster.open(**said) as hat:
            await hat.on(["p1", "p2"])
        hat = await AsyncCluster.open(**said)
        await hat.close()

    asyncio.run(work())


def test_a_cluster_that_was_never_awaited_is_never_opened() -> None:
    assert "await" in repr(AsyncCluster.open(backend="nonsense"))


def test_locks_are_per_board(lab: Lab) -> None:
    """A board whose bus is held up keeps nobody from switching another board's node off."""
    slow, quick = lab.memory(on=(1,)), lab.memory(on=(1,))
    hat = lab.v1(slow, quick)
    done: list[bool] = []

    def hold_up(_: str) -> None:
        slow.before = str

        def other() -> None:
            hat.off("p5")
            done.append(True)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)

    slow.before = hold_up
    hat.off("p1")
    assert done == [True]


def test_each_node_has_its_share_of_the_time(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    probes = {
        "p1": PowerProbe(bank.levels, 6, from_=10**9),
        "p2": PowerProbe(bank.levels, 13, from_=3),
    }
    with pytest.raises(BootTimeoutError, match=r"^not ready within 7 s: p1: no answer$"):
        hat.on("p1", "p2", wait=probes.__getitem__, boot_timeout=7)
    assert (str(hat["p1"].state), str(hat["p2"].state)) == ("on", "ready")


def test_powered_checks_its_arguments_where_it_is_called(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    made: list[str] = []

    def make(name: str) -> Probe:
        made.append(name)
        return PowerProbe(bank.levels, 6)

    wrong: Any = "probe"
    with pytest.raises(NodeNameError):
        hat.powered("p9")
    with pytest.raises(SettingError):
        hat.powered("p1", wait=wrong)
    with hat.powered("p1", wait=make):
        pass
    assert made == ["p1"]
    assert on(bank.levels) == []


def test_who_is_cancelled_while_opening_hears_of_that_and_not_of_the_closing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    banks = lab.banks(lab.memory(), lab.memory(), version="1.3")
    closed: list[str] = []

    def broken() -> None:
        closed.append("first")
        raise TransientBusError(121, "gone")

    vars(banks[0].backend)["close"] = broken
    vars(banks[1].backend)["close"] = lambda: closed.append("second")
    opening = threading.Event()

    def open_banks(*_: object) -> list[Any]:
        opening.set()
        return banks

    monkeypatch.setattr(_cluster_base, "open_banks", open_banks)

    async def work() -> None:
        async def open_() -> None:
            await AsyncCluster.open("1.3", lock_dir=lab.lock_dir, clock=lab.clock)

        task = asyncio.ensure_future(open_())
        await asyncio.sleep(0)
        opening.wait(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert closed == ["first", "second"]
    assert "cannot be closed" in caplog.text
