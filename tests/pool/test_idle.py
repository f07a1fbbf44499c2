"""Which node has been idle for long enough, and what the idle time costs."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.pool.idle import Cost, Idler, break_even, cost

if TYPE_CHECKING:
    from collections.abc import Callable


class Node(Frozen):
    name: str = "p1"
    in_flight: int = 0
    last_active: float = 0.0
    on_since: float = 0.0


TIMES = st.floats(0, 1e9)
IDLERS = st.builds(Idler, st.floats(0, 1e6) | st.just(math.inf), st.floats(0, 1e6))
NODES = st.builds(
    Node, st.sampled_from(["p1", "p2"]), st.integers(0, 2), TIMES | st.just(-math.inf), TIMES
)  # fmt: skip


def test_ten_minutes_and_a_minute_unless_set() -> None:
    assert Idler() == Idler(600.0, 60.0) == Idler(idle_timeout=600)
    assert Idler().replaced(idle_timeout=5) == Idler(5.0)
    assert repr(Idler(1, 2)) == "Idler(idle_timeout=1.0, min_on_time=2.0)"


def test_a_node_is_due_when_the_time_has_passed_and_not_before() -> None:
    idler, node = Idler(600), Node(last_active=1000.0)
    assert idler.due_at(node) == 1600.0
    assert not idler.is_due(node, 1599.999)
    assert idler.is_due(node, 1600.0)


def test_a_node_that_nobody_used_stays_on_for_the_least_time() -> None:
    assert Idler(600, 60).due_at(Node(last_active=-math.inf, on_since=50.0)) == 110.0
    assert Idler(5, 60).due_at(Node(last_active=10.0, on_since=0.0)) == 60.0


def test_never() -> None:
    idler = Idler(math.inf)
    for node in (Node(), Node(last_active=-math.inf)):
        assert idler.due_at(node) == math.inf
        assert not idler.is_due(node, 1e12)


def test_those_that_are_due_in_the_order_given() -> None:
    nodes = [Node("p3"), Node("p1", in_flight=1), Node("p2", last_active=500.0), Node("p4")]
    assert [node.name for node in Idler(600).due(iter(nodes), 700.0)] == ["p3", "p4"]


@given(IDLERS, NODES, TIMES)
def test_due_is_what_the_words_say(idler: Idler, node: Node, now: float) -> None:
    due_at = idler.due_at(node)
    assert not math.isnan(due_at)
    assert idler.is_due(node, now) == (
        node.in_flight == 0
        and idler.idle_timeout < math.inf
        and now >= node.last_active + idler.idle_timeout
        and now >= node.on_since + idler.min_on_time
    )
    if due_at < math.inf:
        assert idler.is_due(node, due_at)
        assert not idler.is_due(node, math.nextafter(due_at, -math.inf))


@given(IDLERS, NODES, TIMES, TIMES)
def test_once_due_a_node_is_due_until_something_happens(
    idler: Idler, node: Node, now: float, more: float
) -> None:
    if idler.is_due(node, now):
        assert idler.is_due(node, now + more)
        assert not idler.is_due(node.replaced(in_flight=1), now + more)
    assert idler.due_at(node.replaced(last_active=node.last_active + more)) >= idler.due_at(node)


BAD: list[Any] = [-1, -0.001, math.nan, -math.inf, "600", None, True, pytest.param(10**400, id="huge"), [600]]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", ["idle_timeout", "min_on_time"])
def test_settings_that_are_no_seconds(name: str, value: Any) -> None:
    with pytest.raises(
        SettingError, match=rf"^Invalid value for {name}: .*: expected seconds, a number from 0 to 1e\+12"
    ):
        Idler(**{name: value})
    with pytest.raises(SettingError):
        Idler().replaced(**{name: value})


def test_only_the_time_out_may_be_endless() -> None:
    with pytest.raises(
        SettingError,
        match=r"^Invalid value for min_on_time: inf: expected seconds, a number from 0 to 1e\+12$",
    ):
        Idler(min_on_time=math.inf)


def test_break_even() -> None:
    assert break_even(boot_energy=90.0, idle_power=0.75) == 120.0
    assert break_even(0, 1) == 0.0


@given(st.floats(0.1, 1e4), st.floats(0.1, 100), st.lists(st.floats(0, 1e5), max_size=20))
def test_the_break_even_time_takes_at_most_twice_the_least_energy(
    boot_energy: float, idle_power: float, gaps: list[float]
) -> None:
    timeout = break_even(boot_energy, idle_power)

    def spent(gap: float, timeout: float) -> float:
        return idle_power * gap if gap <= timeout else idle_power * timeout + boot_energy

    least = sum(min(idle_power * gap, boot_energy) for gap in gaps)
    assert sum(spent(gap, timeout) for gap in gaps) <= 2 * least * (1 + 1e-9)


QUANTITIES: list[tuple[Callable[[Any], object], str]] = [
    (lambda v: break_even(v, 1.0), "boot_energy"),
    (lambda v: break_even(1.0, v), "idle_power"),
    (lambda v: cost(v, 1.0, 1.0, 1.0), "rate"),
    (lambda v: cost(1.0, 1.0, v, 1.0), "idle_power"),
    (lambda v: cost(1.0, 1.0, 1.0, v), "boot_energy"),
    (lambda v: cost(1.0, 1.0, 1.0, 1.0, v), "boot_time"),
]


@pytest.mark.parametrize("value", [*BAD, math.inf])
@pytest.mark.parametrize(("call", "name"), QUANTITIES)
def test_quantities_that_are_no_numbers(call: Callable[[Any], object], name: str, value: Any) -> None:
    with pytest.raises(
        SettingError, match=rf"^Invalid value for {name}: .*: expected .*, a number from 0 to 1e\+12$"
    ):
        call(value)


def test_what_takes_no_power_need_not_go_off() -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for idle_power: .*: expected more than 0 watts"):
        break_even(1.0, 0.0)
    with pytest.raises(SettingError, match=r"^Invalid value for idle_timeout: nan: expected seconds"):
        cost(1.0, math.nan, 1.0, 1.0)


def simulated(
    rate: float, idle_timeout: float, idle_power: float, boot_energy: float, boot_time: float
) -> Cost:
    """The same from a long run of one node, driven by an `Idler`."""
    random = Random(20)
    idler = Idler(idle_timeout, 0)
    requests, cold = 60_000, 0
    now = energy = powered = 0.0
    ready: float | None = None  # when the node was or will be ready, None while it is off
    last_active = 0.0
    for _ in range(requests):
        now += random.expovariate(rate)
        if ready is not None:
            off_at = idler.due_at(Node(last_active=last_active))
            if off_at <= now:
                powered += off_at - (ready - boot_time)
                energy += idle_power * (off_at - ready) + boot_energy
                ready = None
        if ready is None:
            ready = now + boot_time
        cold += now <= ready
        last_active = max(now, ready)
    return Cost(energy / now, cold / requests, powered / now)


@pytest.mark.parametrize(
    ("rate", "idle_timeout", "boot_time"),
    [
        (1 / 240, 600.0, 0.0),
        (1 / 240, 600.0, 30.0),
        (1 / 60, 20.0, 30.0),
        (1 / 600, 600.0, 45.0),
        (1.0, 0.0, 5.0),
    ],
)
def test_the_cost_is_that_of_a_long_run(rate: float, idle_timeout: float, boot_time: float) -> None:
    calculated = cost(rate, idle_timeout, 0.8, 60.0, boot_time)
    seen = simulated(rate, idle_timeout, 0.8, 60.0, boot_time)
    assert seen.mean_power == pytest.approx(calculated.mean_power, rel=0.03)
    assert seen.cold == pytest.approx(calculated.cold, rel=0.03)
    assert seen.on == pytest.approx(calculated.on, rel=0.03)


def test_four_nodes_by_chance_and_one_filled_first() -> None:
    by_chance, first = cost(1 / 240, 600, 0.8, 60), cost(1 / 60, 600, 0.8, 60)
    assert 4 * by_chance.on == pytest.approx(3.67, abs=0.005)
    assert by_chance.cold == pytest.approx(0.082, abs=0.0005)
    assert first.on == pytest.approx(1.0, abs=0.0001)
    assert first.cold == pytest.approx(0.00005, abs=0.00001)


def test_the_ends() -> None:
    assert cost(1.0, math.inf, 0.8, 60.0, 30.0) == Cost(mean_power=0.8, cold=0.0, on=1.0)
    assert cost(1e6, 1e6, 0.8, 60.0, 30.0) == Cost(mean_power=0.8, cold=0.0, on=1.0)
    for timeout in (0.0, 600.0, math.inf):
        assert cost(0.0, timeout, 0.8, 60.0, 30.0) == Cost(mean_power=0.0, cold=1.0, on=0.0)
    assert cost(0.1, 0.0, 0.8, 60.0) == Cost(mean_power=6.0, cold=1.0, on=0.0)


@given(st.floats(1e-6, 10), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 300))
def test_a_longer_time_out_makes_fewer_requests_wait(
    rate: float, timeout: float, longer: float, boot_time: float
) -> None:
    short = cost(rate, timeout, 1.0, 50.0, boot_time)
    long = cost(rate, timeout + longer, 1.0, 50.0, boot_time)
    for share in (short.cold, short.on, long.cold, long.on):
        assert 0.0 <= share <= 1.0
    assert long.cold <= short.cold * (1 + 1e-12)
    assert long.on >= short.on * (1 - 1e-12)
