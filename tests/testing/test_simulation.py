"""What is behind a simulated cluster, wherever its world is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import Cluster, DeviceGoneError, NodeNameError, TransientBusError
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus, simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["in memory", "in a file"])
def hat(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Generator[Cluster]:
    options: dict[str, object] = {} if request.param == "in memory" else {"state": str(tmp_path / "world")}
    boards: list[Mapping[str, object]] = [{"board": "2.3"}, {"board": "2.3", "nodes": 2}]
    with Cluster.open(
        boards=boards, backend="sim", options=options, clock=clock, lock_dir=str(tmp_path)
    ) as hat:
        yield hat


def test_a_node_is_found_by_its_name_in_the_cluster(hat: Cluster, clock: FakeClock) -> None:
    found = simulated(hat)
    assert len(found) == 6
    assert repr(found) == "<Simulation p1=off p2=off p3=off p4=off p5=off p6=off>"
    hat.on("p5")
    node = found["p5"]
    assert (node.name, node.powered, node.phase, node.is_up, node.boots) == ("p5", True, "booting", False, 1)
    assert (node.up_since, node.current) == (None, 3.0)
    clock.advance(20)
    assert (node.phase, node.is_up, node.current, node.brownouts) == ("up", True, 0.13, 0)
    assert node.up_since == clock.now()
    assert node.temperature > found["p1"].temperature
    assert [one.powered for one in found] == [False] * 4 + [True, False]
    with pytest.raises(NodeNameError, match="p7"):
        found["p7"]


def test_a_node_is_broken(hat: Cluster, clock: FakeClock) -> None:
    found = simulated(hat)
    hat.on("p1", "p2")
    clock.advance(20)
    found["p1"].hang()
    found["p2"].fail(boots=False)
    assert [found[name].phase for name in ("p1", "p2")] == ["hung", "up"]
    hat.off("p1", "p2")
    hat.on("p1", "p2")
    clock.advance(20)
    assert [found[name].phase for name in ("p1", "p2")] == ["up", "failed"]


def test_a_line_sticks_and_is_switched_from_outside(hat: Cluster) -> None:
    found = simulated(hat)
    seen: list[bool] = []
    steps: list[Callable[[], None]] = [
        lambda: found["p6"].switch_outside(level=True),
        lambda: found["p6"].stick(level=True),
        lambda: found["p6"].switch_outside(level=False),
        lambda: found["p6"].stick(None),
        lambda: found.boards[1].stick("p2", level=True),
    ]
    for step in steps:
        step()
        seen.append(hat["p6"].powered)
    assert seen == [True, True, True, False, True]
    with pytest.raises(ValueError, match="no line p9"):
        found.boards[1].stick("p9", level=True)


def test_a_board_is_broken(hat: Cluster) -> None:
    board = simulated(hat).boards[1]
    board.fail_bus(times=None)
    with pytest.raises(TransientBusError):
        hat.status()
    board.heal_bus()
    board.fail_bus(gone=True)
    with pytest.raises(DeviceGoneError):
        hat.status()
    board.heal_bus()
    hat.on("p5")
    board.lose_power()
    assert not hat["p5"].powered


def test_a_rail_browns_out_and_all_is_told(hat: Cluster, clock: FakeClock) -> None:
    board = simulated(hat).boards[0]
    hat.on("p1", "p2", "p3")
    clock.advance(20)
    assert (board.rail.name, board.rail.powered, board.rail.brownouts) == ("main", 3, 0)
    assert board.rail.current == pytest.approx(3 * 0.13)
    for name in ("p4", "p5"):
        simulated(hat)[name].switch_outside(level=True)
    assert board.rail.brownouts == 1
    assert simulated(hat)["p1"].brownouts == 1
    assert [event.node for event in board.history if event.what == "on"] == ["p1", "p2", "p3", "p4", "p5"]
    assert [event.node for event in board.history if event.what == "brown-out"] == ["rail main"]


def test_what_is_real_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def open_bus(number: object) -> FakeSMBus:
        del number
        return FakeSMBus({0x20: FakeExpander()})

    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
    with (
        Cluster.open("2.3", backend="i2c", lock_dir=str(tmp_path)) as hat,
        pytest.raises(TypeError, match="not simulated"),
    ):
        simulated(hat)
