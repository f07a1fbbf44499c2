"""Which node gets the next request."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.pool.balance import BALANCERS, Balancer, balancer
from rpi_clusterhat.pool.states import PoolState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

ASLEEP = [PoolState.OFF, PoolState.STOPPING, PoolState.FAILED]
STARTING = [PoolState.BOOTING, PoolState.QUEUED]


class Node(Frozen):
    name: str
    state: PoolState = PoolState.READY
    in_flight: int = 0
    last_used: float = -math.inf


def nodes_of(count: int, state: PoolState = PoolState.READY) -> tuple[Node, ...]:
    return tuple(Node(f"p{i}", state) for i in range(1, count + 1))


def anyone(node: Node) -> bool:
    return True


def of_name(name: str) -> Balancer[Node]:
    return balancer(name, Random(1))


def name_of(node: Node | None) -> str | None:
    return None if node is None else node.name


def but(*full: str) -> Callable[[Node], bool]:
    return lambda node: node.name not in full


def only(*left: str) -> Callable[[Node], bool]:
    return lambda node: node.name in left


def picks(
    how: Balancer[Node], nodes: Sequence[Node], count: int, usable: Callable[[Node], bool] = anyone
) -> list[str | None]:
    return [name_of(how.choose(nodes, usable)) for _ in range(count)]


def test_the_names() -> None:
    assert BALANCERS == ("random", "roundrobin", "leastconn", "first", "hash")
    with pytest.raises(
        SettingError,
        match=r"^Invalid value for balance: 'rnd': expected one of random, roundrobin, .*, hash$",
    ):
        balancer("rnd")


NODES = st.lists(
    st.builds(
        Node,
        st.integers(1, 30).map("p{}".format),
        st.sampled_from(PoolState),
        st.integers(0, 3),
        st.just(-math.inf) | st.floats(0, 1e6),
    ),
    max_size=12,
    unique_by=lambda node: node.name,
)


@pytest.mark.parametrize("name", BALANCERS)
@given(
    calls=st.lists(
        st.tuples(NODES, st.sets(st.integers(1, 30).map("p{}".format)), st.none() | st.text()), max_size=6
    )
)
def test_the_choice_is_usable_and_there_is_one_where_there_can_be(
    name: str, calls: list[tuple[list[Node], set[str], str | None]]
) -> None:
    how = of_name(name)
    for nodes, full, key in calls:
        chosen = how.choose(nodes, but(*full), key)
        if chosen is None:
            assert {node.name for node in nodes} <= full
        else:
            assert any(chosen is node for node in nodes)
            assert chosen.name not in full


# random


@pytest.mark.parametrize("few", [5, 2])
def test_random_is_uniform_among_the_usable(few: int) -> None:
    # Two of 60 are mostly missed by the draws, and found by looking at all.
    nodes = nodes_of(5 if few == 5 else 60)
    usable = {node.name for node in nodes[-few:]}
    how = of_name("random")
    counts = Counter(picks(how, nodes, 5000, only(*usable)))
    assert counts.keys() == usable
    mean = 5000 / few
    chi_square = sum((count - mean) ** 2 / mean for count in counts.values())
    assert chi_square < 18.5  # 4 degrees of freedom: 1 in 1000


def test_random_does_not_look_at_all_nodes() -> None:
    nodes = nodes_of(1000)
    asked: list[Node] = []

    def usable(node: Node) -> bool:
        asked.append(node)
        return True

    of_name("random").choose(nodes, usable)
    assert len(asked) == 1


def test_each_balancer_draws_on_its_own() -> None:
    nodes = nodes_of(1000)
    assert picks(balancer("random"), nodes, 5) != picks(balancer("random"), nodes, 5)
    assert picks(of_name("random"), nodes, 5) == picks(of_name("random"), nodes, 5)


# roundrobin


def test_roundrobin_takes_each_in_turn() -> None:
    assert picks(of_name("roundrobin"), nodes_of(3), 7) == ["p1", "p2", "p3", "p1", "p2", "p3", "p1"]


def test_roundrobin_passes_over_those_that_are_not_usable() -> None:
    how, nodes = of_name("roundrobin"), nodes_of(4)
    assert picks(how, nodes, 3, but("p2")) == ["p1", "p3", "p4"]
    assert picks(how, nodes, 1, only()) == [None]
    assert picks(how, nodes, 2) == ["p1", "p2"]


def test_roundrobin_keeps_its_place_when_nodes_come_and_go() -> None:
    how, nodes = of_name("roundrobin"), nodes_of(5)
    assert picks(how, nodes, 3) == ["p1", "p2", "p3"]
    assert picks(how, nodes[1:], 1) == ["p4"]
    assert picks(how, (Node("p0"), *nodes), 1) == ["p5"]
    assert picks(how, nodes, 2) == ["p1", "p2"]
    assert picks(how, (nodes[0], *nodes[2:]), 1) == ["p3"]
    assert picks(how, (nodes[0], *nodes[3:]), 2) == ["p4", "p5"]
    assert picks(how, nodes[:2], 1) == ["p1"]
    assert picks(how, (), 1) == [None]
    assert picks(how, nodes[:2], 1) == ["p2"]


# leastconn


def test_leastconn_takes_the_fewest_in_flight_then_the_longest_unused() -> None:
    nodes = [
        Node("p1", in_flight=2, last_used=1.0),
        Node("p2", in_flight=1, last_used=9.0),
        Node("p3", in_flight=1, last_used=5.0),
    ]
    how = of_name("leastconn")
    assert picks(how, nodes, 1) == ["p3"]
    assert picks(how, [*nodes, Node("p4", in_flight=1)], 1) == ["p4"]
    assert picks(how, nodes, 1, only("p1")) == ["p1"]


@pytest.mark.parametrize("name", ["leastconn", "first"])
@pytest.mark.parametrize("asleep", ASLEEP)
@pytest.mark.parametrize("starting", STARTING)
def test_awake_before_starting_before_asleep(name: str, asleep: PoolState, starting: PoolState) -> None:
    nodes = [Node("p1", asleep), Node("p2", starting), Node("p3", PoolState.READY, 9)]
    how = of_name(name)
    assert picks(how, nodes, 1) == ["p3"]
    assert picks(how, nodes[:2], 1) == ["p2"]
    assert picks(how, nodes, 1, but("p3")) == ["p2"]
    assert picks(how, nodes, 1, only("p1")) == ["p1"]


@pytest.mark.parametrize("name", ["leastconn", "first"])
def test_a_burst_wakes_no_more_nodes_than_it_fills(name: str) -> None:
    # Within one burst, no boot has begun: all that shows is what was given out.
    how, nodes, maxconn = of_name(name), list(nodes_of(4, PoolState.OFF)), 10
    for _ in range(25):
        chosen = how.choose(nodes, lambda node: node.in_flight < maxconn)
        assert chosen is not None
        nodes[nodes.index(chosen)] = chosen.replaced(in_flight=chosen.in_flight + 1)
    assert [node.in_flight for node in nodes] == [10, 10, 5, 0]


def test_leastconn_spreads_over_those_that_are_awake() -> None:
    how, nodes = of_name("leastconn"), [*nodes_of(3), Node("p4", PoolState.OFF)]
    for now in range(9):
        chosen = how.choose(nodes, anyone)
        assert chosen is not None
        nodes[nodes.index(chosen)] = chosen.replaced(in_flight=chosen.in_flight + 1, last_used=float(now))
    assert [node.in_flight for node in nodes] == [3, 3, 3, 0]


# first


def test_first_fills_one_after_the_other() -> None:
    nodes = [Node("p1", PoolState.OFF), Node("p2"), Node("p3"), Node("p4", PoolState.BOOTING)]
    how = of_name("first")
    assert picks(how, nodes, 2) == ["p2", "p2"]
    assert picks(how, nodes, 1, but("p2")) == ["p3"]
    assert picks(how, nodes, 1, but("p2", "p3")) == ["p4"]
    assert picks(how, nodes, 1, but("p2", "p3", "p4")) == ["p1"]


# hash

KEYS = [f"10.1.{i // 256}.{i % 256}" for i in range(4000)]


def owners(
    nodes: Sequence[Node], *, full: Collection[str] = (), how: Balancer[Node] | None = None
) -> dict[str, str | None]:
    how = how or of_name("hash")
    return {key: name_of(how.choose(nodes, but(*full), key)) for key in KEYS}


@pytest.mark.parametrize("count", [2, 4, 16])
def test_hash_spreads_keys_evenly(count: int) -> None:
    counts = Counter(owners(nodes_of(count)).values())
    mean = len(KEYS) / count
    assert len(counts) == count
    assert all(0.7 * mean < owned < 1.3 * mean for owned in counts.values())


def test_hash_gives_a_key_the_same_node_in_each_process_and_version() -> None:
    expected = ["p3", "p3", "p3", "p1", "p4", "p1"]
    keys = ["", "a", "b", "10.0.0.1", "café", "\udc80"]
    how, nodes = of_name("hash"), nodes_of(4)
    assert [name_of(how.choose(nodes, anyone, key)) for key in keys] == expected
    code = f"""
from types import SimpleNamespace
from rpi_clusterhat.pool.balance import balancer
nodes = [SimpleNamespace(name=f"p{{i}}") for i in range(1, 5)]
print(*[balancer("hash").choose(nodes, bool, key).name for key in {keys!a}])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == expected


def test_hash_moves_only_the_keys_of_a_node_that_goes_comes_or_is_full() -> None:
    nodes = nodes_of(8)
    before = owners(nodes)
    for gone in ("p1", "p5", "p8"):
        fewer = owners([node for node in nodes if node.name != gone])
        assert {key for key in KEYS if fewer[key] != before[key]} == {k for k in KEYS if before[k] == gone}
        assert owners(nodes, full={gone}) == fewer
        assert len({fewer[key] for key in KEYS if before[key] == gone}) > 4  # not all to one neighbour
    assert owners(tuple(reversed(nodes))) == before


def test_hash_finds_the_same_node_by_looking_at_all() -> None:
    # 199 of 200 are full: more points in a row are refused than are tried before looking at all nodes.
    nodes, left = nodes_of(200), {"p7", "p70"}
    full = {node.name for node in nodes} - left
    few = [node for node in nodes if node.name in left]
    assert owners(nodes, full=full) == owners(few)
    how = of_name("hash")
    assert how.choose(nodes, only(), "a") is None
    assert how.choose((), anyone, "a") is None


def test_hash_notices_each_change_of_the_nodes() -> None:
    how, nodes = of_name("hash"), list(nodes_of(6))
    assert owners(nodes, how=how) == owners(nodes)
    nodes[2] = nodes[2].replaced(in_flight=3)
    assert owners(nodes, how=how) == owners(nodes)
    nodes[2] = Node("p9")
    assert owners(nodes, how=how) == owners(nodes)
    assert "p9" in owners(nodes, how=how).values()
    del nodes[0]
    assert owners(nodes, how=how) == owners(nodes)
    fixed = tuple(nodes)
    assert owners(fixed, how=how) == owners(nodes)
    assert owners(fixed, how=how) == owners(nodes)


def test_hash_without_a_key_is_random() -> None:
    nodes = nodes_of(50)
    assert picks(of_name("hash"), nodes, 20) == picks(of_name("random"), nodes, 20)
