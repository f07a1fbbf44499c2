"""Nodes are halted before their power is cut: through the front doors, on simulated cards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    Cluster,
    CutWithoutHalt,
    HaltError,
    HaltRefusedError,
    NodeHalted,
    SettingError,
    State,
    StateChanged,
    SupersededError,
)
from rpi_clusterhat.hardware.backend import SupportsSimulation
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.testing import FakeClock, simulated
from tests.safety.pools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rpi_clusterhat import Event

HALT_TIME = 3.0
SETTLE = 2.0
TIMEOUT = 60.0
ASKED = "it was asked to halt (by simulated)"


class House:
    """A HAT of simulated nodes that write to their cards without end."""

    def __init__(self, lock_dir: Path, *, by_hand: bool = False, **node: Any) -> None:
        self.clock = FakeClock(0.0, by_hand=by_hand)
        options = {"boot_time": 10.0, "halt_time": HALT_TIME, "writes": True, "capacity": 100}
        self.hat = Cluster.open(
            "2.3",
            backend="sim",
            options=options,
            lock_dir=str(lock_dir),
            node={"halt": ["simulated"], **node},
            clock=self.clock,
        )
        self.events: list[Event] = []
        self.hat.subscribe(self.events.append)

    def card(self, name: str) -> str:
        return simulated(self.hat)[name].card

    def up(self, *names: str) -> None:
        self.hat.on(names)
        self.clock.advance(15.0)
        self.events.clear()

    def told(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture(name="house")
def _house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    with house.hat:
        yield house


def test_off_halts_and_then_cuts(house: House) -> None:
    house.up("p1")
    assert house.card("p1") == "dirty"
    began = house.clock.now()
    house.hat.off("p1")
    seconds = house.clock.now() - began
    assert HALT_TIME + SETTLE <= seconds <= HALT_TIME + SETTLE + 0.5
    assert (house.card("p1"), house.hat["p1"].state) == ("clean", State.OFF)
    states = [(e.old, e.new, e.cause) for e in house.told(StateChanged)]
    assert states == [(State.ON, State.STOPPING, "request"), (State.STOPPING, State.OFF, "request")]
    (halted,) = house.told(NodeHalted)
    assert (halted.node, halted.way, halted.reason) == ("p1", "simulated", "the simulated node has halted")
    assert not house.told(CutWithoutHalt)


def test_nodes_are_halted_side_by_side_and_each_is_cut_when_it_is_down(house: House) -> None:
    house.up("p1", "p2", "p3")
    simulated(house.hat)["p2"].fail_halting(seconds=20.0)
    began = house.clock.now()
    house.hat.off("all")
    assert house.clock.now() - began <= 20.0 + SETTLE + 0.5
    assert [event.node for event in house.told(NodeHalted)] == ["p1", "p3", "p2"]
    assert {house.card(name) for name in ("p1", "p2", "p3")} == {"clean"}
    assert not any(node.powered for node in house.hat)


def test_now_cuts_at_once_and_says_so(house: House) -> None:
    house.up("p1")
    began = house.clock.now()
    house.hat.off("p1", "p2", now=True)
    assert house.clock.now() == began
    assert house.card("p1") == "corrupt"
    assert house.told(CutWithoutHalt) == [CutWithoutHalt("p1", "its power was to be cut at once")]


@pytest.mark.parametrize("fault", [{"ignored": True}, {"hangs": True}])
def test_a_node_that_does_not_go_down_is_cut_when_the_time_is_over(house: House, fault: Any) -> None:
    house.up("p1", "p2")
    simulated(house.hat)["p1"].fail_halting(**fault)
    began = house.clock.now()
    house.hat.off("p1", "p2")
    assert TIMEOUT <= house.clock.now() - began <= TIMEOUT + 0.5
    (cut,) = house.told(CutWithoutHalt)
    assert cut.node == "p1"
    assert cut.reason == f"{ASKED}, and was not down within 60 s: the simulated node is not down"
    assert (house.card("p1"), house.card("p2")) == ("corrupt", "clean")


def test_without_the_cut_a_node_that_does_not_go_down_keeps_its_power(house: House) -> None:
    house.up("p1", "p2")
    simulated(house.hat)["p1"].fail_halting(ignored=True)
    with pytest.raises(
        HaltError, match=r"^p1 keeps its power: it was asked to halt \(by simulated\), and was not"
    ):
        house.hat.off("p1", "p2", cut=False)
    assert [house.hat[name].state for name in ("p1", "p2")] == [State.ON, State.OFF]
    assert house.card("p1") == "dirty"


def test_a_guard_may_refuse_and_the_others_go_off(house: House) -> None:
    house.up("p1", "p2")
    end = house.hat.guard_halts(lambda name: "a job runs on it" if name == "p1" else None)
    with pytest.raises(HaltRefusedError, match=r"^p1 is not halted: a job runs on it$"):
        house.hat.off("all")
    assert [house.hat[name].state for name in ("p1", "p2")] == [State.ON, State.OFF]
    end()
    house.hat.off("p1")
    assert house.card("p1") == "clean"


def test_the_worst_of_several_errors_is_raised_and_the_others_are_notes(house: House) -> None:
    house.up("p1", "p2")
    simulated(house.hat)["p1"].hang()
    house.hat.guard_halts(lambda name: "it is busy" if name == "p2" else None)

    def call_off(event: Event) -> None:
        if isinstance(event, StateChanged) and event.node == "p1" and event.new is State.STOPPING:
            house.hat["p1"].call_off_halt()

    house.hat.subscribe(call_off)
    with pytest.raises(HaltRefusedError, match=r"^p2 is not halted: it is busy") as caught:
        house.hat.off("all")
    assert caught.value.__notes__ == ["the halt of p1 was called off: it is to stay on"]


@pytest.mark.parametrize("what", ["off", "cycle"])
def test_now_needs_no_way_whose_settings_are_right(tmp_path: Path, what: str) -> None:
    house = House(tmp_path, p1={"halt": ["hook"]})
    with house.hat as hat:
        Cluster(hat.banks, house.clock).on("p1")
        with pytest.raises(SettingError, match="needs the setting halt_hook"):
            hat.off("p1")
        getattr(hat, what)("p1", now=True)
        assert house.told(CutWithoutHalt) == [CutWithoutHalt("p1", "its power was to be cut at once")]


def test_several_refusals_are_told_together(house: House) -> None:
    house.up("p1", "p2")
    house.hat.guard_halts(lambda name: f"{name} is busy")
    with pytest.raises(
        HaltRefusedError, match=r"^p1 is not halted: p1 is busy; p2 is not halted: p2 is busy$"
    ):
        house.hat.off("all")


def test_a_guard_that_fails_leaves_the_node_on(house: House) -> None:
    house.up("p1")

    def guard(name: str) -> str | None:
        raise OSError(f"the queue of {name} cannot be asked")

    house.hat.guard_halts(guard)
    with pytest.raises(OSError, match="the queue of p1 cannot be asked"):
        house.hat.off("p1")
    assert house.hat["p1"].state is State.ON


def test_cycle_halts_too(house: House) -> None:
    house.up("p1", "p2")
    house.hat.cycle("p1", "p2", pause=1.0)
    assert [simulated(house.hat)[name].corruptions for name in ("p1", "p2")] == [0, 0]
    assert all(house.hat[name].powered for name in ("p1", "p2"))
    house.clock.advance(15.0)
    house.hat.cycle("p1", now=True)
    assert simulated(house.hat)["p1"].corruptions == 1


def test_a_cycle_that_is_refused_for_one_brings_the_others_back(house: House) -> None:
    house.up("p1", "p2")
    house.hat.guard_halts(lambda name: "it is busy" if name == "p1" else None)
    with pytest.raises(HaltRefusedError):
        house.hat.cycle("p1", "p2")
    assert [house.hat[name].power_ups for name in ("p1", "p2")] == [1, 2]
    assert all(house.hat[name].powered for name in ("p1", "p2"))


def test_a_block_of_powered_nodes_ends_with_a_halt(house: House) -> None:
    with house.hat.powered("p1"):
        house.clock.advance(15.0)
    assert house.card("p1") == "clean"


def test_a_node_that_hangs_is_cut_when_the_time_is_over(house: House) -> None:
    house.up("p1")
    simulated(house.hat)["p1"].hang()
    house.hat.off("p1")
    (cut,) = house.told(CutWithoutHalt)
    assert cut.reason.startswith("it could not be asked to halt within 60 s: simulated: ")


def test_a_node_that_boots_is_waited_for(house: House) -> None:
    house.hat.on("p1")
    house.hat.off("p1")
    assert house.card("p1") == "clean"
    assert house.clock.now() == pytest.approx(10.0 + HALT_TIME + SETTLE, abs=2.5)


def test_nodes_without_a_way_are_cut_at_once_and_nothing_is_told(tmp_path: Path) -> None:
    house = House(tmp_path, p1={"halt": []})
    with house.hat as hat:
        house.up("p1", "p2")
        assert (hat.ways_to_halt("p1"), hat.ways_to_halt("p2")) == ((), ("simulated",))
        began = house.clock.now()
        hat.off("p1")
        assert house.clock.now() == began
        assert not house.told(CutWithoutHalt, NodeHalted)


def test_a_table_for_no_node_is_an_error_and_nothing_stays_open(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Unknown node 'p9'"):
        House(tmp_path, p9={"halt": []})


class Interrupting(FakeClock):
    """A Ctrl-C comes at the n-th sleep from when ``left`` is set."""

    left = -1

    def sleep(self, seconds: float) -> None:
        if self.left == 0:
            self.left = -1
            raise KeyboardInterrupt
        self.left -= 1
        super().sleep(seconds)


@pytest.mark.parametrize("at", [0, 5, 25])
def test_a_halt_that_is_left_half_way_is_ended_by_the_next_caller(tmp_path: Path, at: int) -> None:
    house = House(tmp_path)
    with house.hat as hat:
        house.up("p1")
        clock = Interrupting(house.clock.now())
        hat._inventory.clock = clock  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        simulated(hat)["p1"].fail_halting(seconds=10.0)
        clock.left = at
        with pytest.raises(KeyboardInterrupt):
            hat.off("p1")
        hat._inventory.clock = house.clock  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        assert hat["p1"].state is State.STOPPING
        hat.on("p1")
        assert (hat["p1"].power_ups, hat["p1"].powered) == (2, True)
        assert simulated(hat)["p1"].corruptions == 0


# Several callers --------------------------------------------------------------------------------------------


def together(house: House, work: Callable[[AsyncCluster], Any]) -> Any:
    return run(lambda: work(AsyncCluster.of(house.hat)))


def test_on_waits_for_a_halt_and_boots_the_node_anew(tmp_path: Path) -> None:
    house = House(tmp_path, by_hand=True)

    async def work(hat: AsyncCluster) -> None:
        house.hat.on("p1")
        house.clock.advance(15.0)
        off = asyncio.ensure_future(hat.off("p1"))
        await house.clock.pass_time(1.0)
        assert await hat["p1"].state() is State.STOPPING
        on = asyncio.ensure_future(hat.on("p1"))
        await house.clock.pass_time(10.0)
        await asyncio.gather(off, on)
        assert await hat["p1"].powered()
        assert hat["p1"].power_ups == 2
        assert simulated(hat)["p1"].corruptions == 0

    together(house, work)


def test_on_calls_a_halt_off_that_was_not_asked_for_yet(tmp_path: Path) -> None:
    house = House(tmp_path, by_hand=True)

    async def work(hat: AsyncCluster) -> None:
        house.hat.on("p1")
        house.clock.advance(5.0)  # it boots still, and does not listen
        off = asyncio.ensure_future(hat.off("p1"))
        await house.clock.pass_time(1.0)
        on = asyncio.ensure_future(hat.on("p1"))
        await house.clock.pass_time(20.0)
        with pytest.raises(SupersededError, match="the halt of p1 was called off: it is to stay on"):
            await off
        await on
        assert (await hat["p1"].state(), hat["p1"].power_ups) == (State.ON, 1)

    together(house, work)


def test_a_halt_that_was_called_off_cuts_no_node_that_cannot_be_asked(house: House) -> None:
    house.up("p1")
    simulated(house.hat)["p1"].hang()
    answers: list[bool] = []

    def call_off(event: Event) -> None:
        if isinstance(event, StateChanged) and event.new is State.STOPPING:
            answers.append(house.hat["p1"].call_off_halt())

    house.hat.subscribe(call_off)
    began = house.clock.now()
    with pytest.raises(SupersededError, match="the halt of p1 was called off"):
        house.hat.off("p1")
    assert (answers, house.hat["p1"].state) == ([True], State.ON)
    assert house.clock.now() - began < 1.0


def test_a_halt_that_was_left_half_way_cannot_be_called_off(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.hat as hat:
        house.up("p1")
        clock = Interrupting(house.clock.now())
        hat._inventory.clock = clock  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        clock.left = 1
        with pytest.raises(KeyboardInterrupt):
            hat.off("p1")
        assert not hat["p1"].call_off_halt()


def test_two_who_switch_a_node_off_share_one_halt(tmp_path: Path) -> None:
    house = House(tmp_path, by_hand=True)

    async def work(hat: AsyncCluster) -> None:
        house.hat.on("p1")
        house.clock.advance(15.0)
        both = [asyncio.ensure_future(hat.off("p1")) for _ in range(2)]
        await house.clock.pass_time(HALT_TIME + SETTLE + 0.5)
        await asyncio.gather(*both)
        assert len(house.told(NodeHalted)) == 1
        assert house.card("p1") == "clean"

    together(house, work)


def test_now_by_another_caller_ends_a_halt_that_takes_too_long(tmp_path: Path) -> None:
    house = House(tmp_path, by_hand=True)

    async def work(hat: AsyncCluster) -> None:
        house.hat.on("p1")
        house.clock.advance(15.0)
        simulated(hat)["p1"].fail_halting(hangs=True)
        off = asyncio.ensure_future(hat.off("p1"))
        await house.clock.pass_time(1.0)
        await hat.off("p1", now=True)
        await hat.on("p1")
        await house.clock.pass_time(1.0)
        await off
        assert await hat["p1"].powered(), "the first caller has cut a node that had booted anew"

    together(house, work)


def test_a_cancelled_halt_leaves_the_node_as_it_is(tmp_path: Path) -> None:
    house = House(tmp_path, by_hand=True)

    async def work(hat: AsyncCluster) -> None:
        house.hat.on("p1")
        house.clock.advance(5.0)
        off = asyncio.ensure_future(hat.off("p1"))
        await house.clock.pass_time(1.0)
        off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await off
        assert await hat["p1"].state() is State.ON

    together(house, work)


# Other processes --------------------------------------------------------------------------------------------


@pytest.fixture(name="shared")
def _shared(tmp_path: Path) -> Iterator[tuple[Cluster, FileTurnstile]]:
    """A HAT whose p1 is up, and the file where processes tell each other what they halt."""
    clock = FakeClock(0.0)
    options = {"boot_time": 1.0, "halt_time": 1.0, "writes": True, "state": str(tmp_path / "world.json")}
    node = {"halt": ["simulated"]}
    with Cluster.open("2.3", backend="sim", options=options, node=node, clock=clock) as hat:
        hat.on("p1")
        clock.advance(2.0)
        backend = hat.banks[0].backend
        assert isinstance(backend, SupportsSimulation)
        path = backend.rail_lock("main")
        assert path is not None
        yield hat, FileTurnstile(path, guarded=False)


def test_a_process_that_was_stopped_while_it_halts_a_node_holds_nobody_up_for_ever(
    shared: tuple[Cluster, FileTurnstile],
) -> None:
    hat, turnstile = shared
    mark = turnstile.mark(hat.boards[0].power[0].offset)
    assert mark is not None
    for switch, powered in ((hat.off, False), (hat.on, True)):
        began = hat.clock.now()
        switch("p1")
        assert 180.0 <= hat.clock.now() - began <= 190.0
        assert hat["p1"].powered is powered
    assert simulated(hat)["p1"].corruptions == 0
    hat.on("p2")  # which nobody halts
    assert hat.clock.now() <= 390.0


def test_a_broken_lock_keeps_no_node_from_being_halted(shared: tuple[Cluster, FileTurnstile]) -> None:
    hat, turnstile = shared
    Path(turnstile.path).unlink()
    Path(turnstile.path).mkdir()
    hat.on("p1")
    hat.off("p1")
    assert (hat["p1"].powered, simulated(hat)["p1"].corruptions) == (False, 0)
