"""A program and its tests on the simulation. Run it with pytest."""

from collections.abc import Iterator

import pytest

from rpi_clusterhat import Cluster, NodeFailedError
from rpi_clusterhat.testing import FakeClock, Simulation, simulated


def keep_running(hat: Cluster, count: int) -> list[str]:
    """The code under test. It keeps a number of nodes on, and skips those that fail."""
    running: list[str] = []
    for node in hat:
        if len(running) == count:
            node.off()
            continue
        try:
            node.on()
        except NodeFailedError:
            continue
        running.append(node.name)
    return running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hat(clock: FakeClock) -> Iterator[Cluster]:
    with Cluster.open(board="2.3", backend="sim", clock=clock) as hat:
        yield hat


@pytest.fixture
def nodes(hat: Cluster) -> Simulation:
    return simulated(hat)


def test_the_others_are_switched_off(hat: Cluster) -> None:
    hat.on("all")
    assert keep_running(hat, 2) == ["p1", "p2"]
    assert [node.powered for node in hat] == [True, True, False, False]


def test_a_node_that_fails_is_passed_over(hat: Cluster, nodes: Simulation) -> None:
    nodes["p1"].stick(level=False)
    assert keep_running(hat, 2) == ["p2", "p3"]
    assert hat["p1"].failure is not None


def test_they_boot_once_and_without_a_brown_out(hat: Cluster, nodes: Simulation, clock: FakeClock) -> None:
    keep_running(hat, 4)
    clock.advance(60)
    assert [node.phase for node in nodes] == ["up"] * 4
    assert [node.boots for node in nodes] == [1] * 4


def test_nothing_is_waited_for_in_real_time(hat: Cluster, clock: FakeClock) -> None:
    keep_running(hat, 4)
    assert round(sum(clock.sleeps), 6) == 3 * hat.spacing
