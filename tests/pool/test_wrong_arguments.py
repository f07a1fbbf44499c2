"""An argument of the wrong kind is told where it is given, before anything is switched."""

from __future__ import annotations

import asyncio
from math import inf, nan
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    AsyncNodePool,
    Cluster,
    ClusterHatError,
    CommandProbe,
    Counters,
    HttpProbe,
    NodeNameError,
    NodePool,
    PoolSettings,
    SettingError,
    TcpProbe,
    Traffic,
    UsbProbe,
    wait_until_up,
)
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODE: Any = "p1"
PROBE = TcpProbe("127.0.0.1", 9)


def command(*, argv: Any, timeout: Any) -> CommandProbe:
    return CommandProbe(*argv, timeout=timeout)


CONSTRUCTORS: dict[str, tuple[Any, dict[str, Any], dict[str, list[Any]]]] = {
    "TcpProbe": (
        TcpProbe,
        {"host": "h", "port": 80, "timeout": 1},
        {
            "host": ["", None, 5, b"h", ["h"], "http://h/", "h:80", "[::1]", "a b"],
            "port": ["80", 0, 65536, 80.0, True, None],
            "timeout": ["1", 0, -1, None, nan, inf, True],
        },
    ),
    "HttpProbe": (
        HttpProbe,
        {"host": "h"},
        {
            "host": [None, "http://h/"],
            "port": ["80"],
            "path": ["x", None, 5, "/a b", "/#a", b"/"],
            "expect": [200, 200.0, None, "", "2xx", [], ["ok"], [99], "300-200"],
            "host_header": ["", "a b", 5],
            "timeout": ["3", None],
        },
    ),
    "CommandProbe": (
        command,
        {"argv": ("true",), "timeout": 1},
        {
            "argv": [(), ("",), (["ssh", "p1", "true"],), ("ssh", 1), ("ssh", None), ("a\0b",), (b"ssh",)],
            "timeout": ["1", 0],
        },
    ),
    "UsbProbe": (
        UsbProbe,
        {"serial": "1"},
        {"serial": [None, "", " 1", 1.5, True, ["1"]], "vendor": ["317", 3171, "31 1"]},
    ),
    "PoolSettings": (
        PoolSettings,
        {},
        {
            "balance": ["firts", None, 1, ["first"]],
            "maxconn": ["5", 0, 1.5, True, None],
            "queue": ["x", -1],
            "idle_timeout": ["600", -1, nan, None],
            "boot_timeout": [0, None, "60"],
            "queue_timeout": ["5", 0],
            "probe_interval": [0, "1"],
            "ready_after": [-1, "1"],
            "redispatch": ["no", 1, None],
            "retry_after_failure": [None, -1],
            "min_on_time": ["x"],
            "boot_estimate": ["x"],
        },
    ),
    "Traffic": (
        Traffic,
        {"counters": Counters()},
        {"threshold": ["1", 0, None, 1.5, True], "interval": ["1", 0, None]},
    ),
    "Counters": (Counters, {}, {"interface": ["eth0", None, 5]}),
    "wait_until_up": (
        wait_until_up,
        {"probe": PROBE, "timeout": 0.1},
        {
            "probe": [5, None, ("h", 80), TcpProbe],
            "timeout": ["1", 0, -1, None],
            "interval": [0, "1"],
            "ready_after": [-1, "1"],
        },
    ),
}
CASES = [
    (what, name, value)
    for what, (_, _, arguments) in CONSTRUCTORS.items()
    for name, values in arguments.items()
    for value in values
]


def ids(cases: list[Any]) -> list[str]:
    return [" ".join(map(str, case)).replace("\0", "NUL") for case in cases]


@pytest.mark.parametrize(("what", "name", "value"), CASES, ids=ids(CASES))
def test_what_is_made(what: str, name: str, value: Any) -> None:
    make, right, _ = CONSTRUCTORS[what]
    with pytest.raises(SettingError) as caught:
        make(**{**right, name: value})
    assert f"Invalid value for {name}: " in str(caught.value)


@pytest.mark.parametrize("what", CONSTRUCTORS)
def test_what_is_made_can_be_made(what: str) -> None:
    make, right, _ = CONSTRUCTORS[what]
    make(**right)


@pytest.mark.parametrize("other", [5, "x", None, TcpProbe])
def test_only_probes_are_combined(other: Any) -> None:
    combinations: list[Callable[[], object]] = [
        lambda: PROBE & other,
        lambda: PROBE | other,
        lambda: other & PROBE,
        lambda: other | PROBE,
    ]
    for combine in combinations:
        with pytest.raises(TypeError):
            combine()


def no_probe(_: str) -> Any:
    return "h", 1


def nothing(_: str) -> Any:
    return None


def probe(_: str) -> TcpProbe:
    return PROBE


@pytest.fixture
def hat() -> Iterator[Cluster]:
    with Cluster.open(backend="sim", clock=FakeClock()) as hat:
        yield hat
        assert not any(hat[name].powered for name in hat.names), "a node was switched on"


OF_A_POOL: dict[str, list[Any]] = {
    "settings": [{}, {"balance": "first"}, "first"],
    "probe": [no_probe, PROBE, None, "x", nothing],
    "traffic": ["x", 5, Counters()],
    "random": ["x", 5],
}


@pytest.mark.parametrize("kind", ["NodePool", "AsyncNodePool"])
def test_a_pool_is_not_made_of_something_else(hat: Cluster, kind: str) -> None:
    pool: Any = NodePool if kind == "NodePool" else AsyncNodePool
    own: Any = hat if pool is NodePool else AsyncCluster.of(hat)
    given: dict[str, Any] = {"probe": probe, "random": Random(1)}
    pool(own, **given)
    for name, values in OF_A_POOL.items():
        for value in values:
            with pytest.raises(SettingError, match=f"Invalid value for {name}: "):
                pool(own, **{**given, name: value})
    others: list[Any] = [None, "x", AsyncCluster.of(hat) if pool is NodePool else hat]
    for cluster in others:
        with pytest.raises(SettingError, match="Invalid value for cluster: "):
            pool(cluster, **given)


NO_NODES: list[Any] = ["p9", "", None, 1, ["p1"], {}]
OF_A_LEASE: list[dict[str, Any]] = [
    *({"timeout": value} for value in ("5", -1, nan, True)),
    *({"exclude": value} for value in ("p1", ["p1"], 5, {"p9"}, {"p1", None})),
    *({"key": value} for value in (5, b"x", ["x"])),
    *({"passive": value} for value in ("no", 0, None)),
]


def test_an_open_pool(hat: Cluster) -> None:
    def lease(node: Any = None, **how: Any) -> None:
        with pool.lease(node, **how):
            pytest.fail("a lease of that")

    with NodePool(hat, probe=probe) as pool:
        for node in [value for value in NO_NODES if value is not None]:
            with pytest.raises(NodeNameError):
                lease(node)
        methods: list[Callable[[Any], object]] = [pool.wake, pool.power_off, pool.due_at]
        for method in methods:
            for node in [*NO_NODES, hat["p1"]]:
                with pytest.raises(NodeNameError, match="of this pool: it has p1, p2, p3, p4"):
                    method(node)
        for how in OF_A_LEASE:
            with pytest.raises(SettingError, match=f"Invalid value for {next(iter(how))}: "):
                lease(**how)
        wrong: Any = 5
        with pytest.raises(SettingError, match="callback"):
            pool.subscribe(wrong)
        for seconds in ("5", -1, None):
            with pytest.raises(SettingError):
                pool.drain(seconds)  # type: ignore[arg-type]


def test_an_open_pool_of_asyncio(hat: Cluster) -> None:
    async def work() -> None:
        async with AsyncNodePool(AsyncCluster.of(hat), probe=probe) as pool:
            for how in [*OF_A_LEASE, *({"node": node} for node in NO_NODES if node is not None)]:
                with pytest.raises(ClusterHatError):
                    pool.lease(**how)
            for node in NO_NODES:
                with pytest.raises(NodeNameError):
                    pool.wake(node)

    asyncio.run(work())


def test_a_cluster_and_its_nodes(hat: Cluster) -> None:
    wrong: Any
    for wrong in [5, None, "x"]:
        with pytest.raises(SettingError, match="callback"):
            hat.subscribe(wrong)
        with pytest.raises(SettingError, match="Invalid value for up"):
            hat["p1"].report_probe(up=wrong)
        with pytest.raises(SettingError, match="Invalid value for under_way"):
            hat["p1"].report_halt(under_way=wrong)
    for wrong in NO_NODES:
        with pytest.raises(NodeNameError):
            hat[wrong]
        assert wrong not in hat
    calls: list[Callable[[], object]] = [
        lambda: hat.on("p1", wait=5),  # type: ignore[arg-type]
        lambda: hat.on("p1", wait=PROBE, boot_timeout="5"),  # type: ignore[arg-type]
        lambda: hat.cycle("p1", pause="1"),  # type: ignore[arg-type]
        lambda: hat.hub.reset(pause=-1),
    ]
    for call in calls:
        with pytest.raises(SettingError):
            call()


@pytest.mark.parametrize("clock", [5, None, "x"])
def test_a_cluster_with_a_clock_that_is_none(clock: Any) -> None:
    with pytest.raises(SettingError, match="Invalid value for clock"):
        Cluster.open(backend="sim", clock=clock)
