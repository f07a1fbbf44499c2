"""What Prometheus is told, read back with its own parsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from clusterhat_proxy.instruments import BOOT_BUCKETS, METRICS
from clusterhat_proxy.metrics import Metrics
from clusterhat_proxy.server import Server, ServerSettings
from rpi_clusterhat import BackendError, PoolState
from tests.safety.pools import BOOT_TIME, SPACING, House, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric as Family

    from clusterhat_proxy.exchange import Exchange
    from rpi_clusterhat import AsyncNodePool

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def nothing(exchange: Exchange) -> None:
    raise AssertionError("nothing goes through the proxy here")


class Scrape:
    """One look at the metrics."""

    def __init__(self, families: list[Family]) -> None:
        self.families = families
        self.samples = {
            (s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[(f"clusterhat_{name}", *sorted(labels.items()))]

    def sum(self, name: str) -> float:
        return sum(value for (found, *_), value in self.samples.items() if found == f"clusterhat_{name}")


class Rig:
    def __init__(self, house: House, pool: AsyncNodePool) -> None:
        self.house = house
        self.pool = pool
        self.metrics = Metrics(pool)
        self.requests = self.metrics.requests
        self.proxy = Server(nothing, ServerSettings(), self.requests.refuse)
        self.metrics.watch(self.proxy)

    def text(self, accept: str = "") -> str:
        text, _ = self.metrics.text(accept)
        return text.decode()

    def scrape(self) -> Scrape:
        return Scrape(list(text_string_to_metric_families(self.text())))

    async def pass_until(self, name: str, state: PoolState) -> None:
        while self.pool.nodes[name].state is not state:
            await self.house.clock.pass_time(0.125)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))


def play(house: House, scene: Callable[[Rig], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        pool = house.pool(**settings)
        rig = Rig(house, pool)
        await pool.open()
        try:
            await scene(rig)
        finally:
            await pool.close()
            await house.hat.close()

    run(main)


async def use_everything(rig: Rig) -> None:
    """So that each metric has a value."""
    for _ in range(7):
        rig.requests.over("200", "warm")
    rig.requests.over("left", "cold")
    for _ in range(2):
        rig.requests.retry()
    rig.requests.in_flight, rig.requests.tunnels = 5, 1
    for _ in range(3):
        rig.proxy.refused("too many connections")
    rig.pool.wake("p1")
    await rig.pass_until("p1", PoolState.READY)


def test_the_table_is_what_is_exported(house: House) -> None:
    async def scene(rig: Rig) -> None:
        await use_everything(rig)
        scrape = rig.scrape()
        table = {metric.name: metric for metric in METRICS}
        assert len(table) == len(METRICS)
        exported = {f"{f.name}_total" if f.type == "counter" else f.name: f for f in scrape.families}
        assert exported.keys() == table.keys()
        for name, family in exported.items():
            metric = table[name]
            assert (family.type, family.documentation) == (metric.kind, metric.help)
            assert family.samples, name
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(metric.labels), name

    play(house, scene)


def test_names_follow_the_rules() -> None:
    for metric in METRICS:
        assert re.fullmatch("clusterhat_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds")


def test_openmetrics_says_the_same(house: House) -> None:
    async def scene(rig: Rig) -> None:
        await use_everything(rig)
        plain = rig.scrape()
        text = rig.text(OPENMETRICS)
        assert text.endswith("# EOF\n")
        parser: Any = openmetrics_parser  # its types are incomplete
        parsed = Scrape(list(parser.text_string_to_metric_families(text)))
        assert parsed.samples == plain.samples
        _, kind = rig.metrics.text(OPENMETRICS)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")

    play(house, scene)


def test_what_the_proxy_counts(house: House) -> None:
    async def scene(rig: Rig) -> None:
        await use_everything(rig)
        rig.proxy.draining = True
        seen = rig.scrape()
        assert seen("requests_total", outcome="200", temperature="warm") == 7
        assert seen("requests_total", outcome="left", temperature="cold") == 1
        assert seen("requests_in_flight") == 5
        assert seen("tunnels") == 1
        assert seen("retries_total") == 2
        assert seen("connections") == 0
        assert seen("refused_total", reason="too_many_connections") == 3
        assert seen("draining") == 1

    play(house, scene)


def test_what_the_pool_knows(house: House) -> None:
    async def scene(rig: Rig) -> None:
        seen = rig.scrape()
        assert (seen("draining"), seen("requests_waiting"), seen("requests_in_flight")) == (0, 0, 0)
        leases = [rig.pool.lease("p1"), rig.pool.lease("p2")]
        assert not any(lease.ask() for lease in leases)
        assert rig.scrape()("requests_waiting") == 2
        await rig.pass_until("p2", PoolState.READY)
        seen = rig.scrape()
        assert seen("requests_waiting") == 0
        assert [seen("node_in_flight", node=f"p{n}") for n in (1, 2, 3)] == [1, 1, 0]
        assert seen("node_state", node="p1", state="ready") == 1
        assert seen("node_state", node="p3", state="off") == 1
        assert seen("node_state", node="p3", state="ready") == 0
        assert seen.sum("node_state") == 4, "each node is in one state"
        powered = seen("node_powered_seconds_total", node="p1")
        assert powered - seen("node_powered_seconds_total", node="p2") == SPACING
        await house.clock.pass_time(10)
        assert rig.scrape()("node_powered_seconds_total", node="p1") == powered + 10
        for lease in leases:
            lease.release()

    play(house, scene)


def test_power_and_boots_are_counted_by_reason(house: House) -> None:
    async def scene(rig: Rig) -> None:
        pool = rig.pool
        seen = rig.scrape()
        for reason in ("lease", "hand"):
            assert seen("power_ups_total", node="p1", reason=reason) == 0
        assert seen.sum("power_ups_total") == seen.sum("power_offs_total") == 0
        assert seen("boot_duration_seconds_count") == 0

        pool.wake("p1")
        await rig.pass_until("p1", PoolState.READY)
        assert pool.power_off("p1")
        await rig.pass_until("p1", PoolState.OFF)
        lease = pool.lease("p1")
        assert not lease.ask()
        await rig.pass_until("p1", PoolState.READY)
        lease.release()
        await rig.pass_until("p1", PoolState.OFF)  # idle
        house.outside(p2=True)
        await rig.pass_until("p2", PoolState.READY)
        house.outside(p2=False)
        await rig.pass_until("p2", PoolState.OFF)

        seen = rig.scrape()
        assert seen("power_ups_total", node="p1", reason="hand") == 1
        assert seen("power_ups_total", node="p1", reason="lease") == 1
        assert seen.sum("power_ups_total") == 2, "what others switched on is none of the pool's"
        assert seen("power_offs_total", node="p1", reason="hand") == 1
        assert seen("power_offs_total", node="p1", reason="idle") == 1
        assert seen("power_offs_total", node="p2", reason="outside") == 1
        assert seen.sum("power_offs_total") == 3
        assert seen("boot_duration_seconds_count") == 2, "nor was that a boot to be measured"
        assert seen.sum("boot_failures_total") == seen.sum("power_off_failures_total") == 0

    play(house, scene, idle_timeout=20.0, min_on_time=0.0)


def test_the_reason_of_a_power_up_is_that_of_its_boot(house: House) -> None:
    """Also where nobody looked between two of them, and where one is still under way."""

    async def scene(rig: Rig) -> None:
        rig.pool.wake("p1")
        assert rig.scrape().sum("power_ups_total") == 0, "asked for, and not there yet"
        await rig.pass_until("p1", PoolState.BOOTING)
        assert rig.scrape()("power_ups_total", node="p1", reason="hand") == 1
        await rig.pass_until("p1", PoolState.READY)
        for _ in range(3):
            rig.pool.power_off("p1")
            await rig.pass_until("p1", PoolState.OFF)
            lease = rig.pool.lease("p1")
            lease.ask()
            await rig.pass_until("p1", PoolState.READY)
            lease.release()
        rig.pool.power_off("p1")
        await rig.pass_until("p1", PoolState.OFF)
        rig.pool.wake("p1")
        await rig.pass_until("p1", PoolState.BOOTING)
        seen = rig.scrape()
        assert seen("power_ups_total", node="p1", reason="hand") == 2
        assert seen("power_ups_total", node="p1", reason="lease") == 3

    play(house, scene)


def test_boots_fall_into_buckets(house: House) -> None:
    async def scene(rig: Rig) -> None:
        assert list(BOOT_BUCKETS) == sorted(set(BOOT_BUCKETS))
        assert (BOOT_BUCKETS[0], BOOT_BUCKETS[-1]) == (1, 120)
        for name in ("p1", "p2"):
            rig.pool.wake(name)
        await rig.pass_until("p2", PoolState.READY)
        seen = rig.scrape()
        bucket = [seen("boot_duration_seconds_bucket", le=f"{bound:.1f}") for bound in BOOT_BUCKETS]
        assert bucket == [0.0] + [2.0] * (len(BOOT_BUCKETS) - 1), "within 2 s"
        assert seen("boot_duration_seconds_bucket", le="+Inf") == seen("boot_duration_seconds_count") == 2
        total = seen("boot_duration_seconds_sum")
        assert 2 * BOOT_TIME + SPACING <= total <= 2 * BOOT_TIME + SPACING + 0.5

    play(house, scene)


@pytest.mark.parametrize(
    ("boot_time", "le"), [(1.0, "1.0"), (1.25, "2.0"), (119.875, "120.0"), (120.125, "+Inf"), (500.0, "+Inf")]
)
def test_a_boot_on_a_bound_is_within_it(tmp_path: Path, boot_time: float, le: str) -> None:
    house = House(str(tmp_path), options={"boot_time": boot_time})

    async def scene(rig: Rig) -> None:
        rig.pool.wake("p1")
        await rig.pass_until("p1", PoolState.READY)
        seen = rig.scrape()
        assert seen("boot_duration_seconds_sum") == boot_time
        bounds = [*(f"{bound:.1f}" for bound in BOOT_BUCKETS), "+Inf"]
        filled = [bound for bound in bounds if seen("boot_duration_seconds_bucket", le=bound)]
        assert filled == bounds[bounds.index(le) :]

    play(house, scene, boot_timeout=1000.0)


def test_failures_are_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(rig: Rig) -> None:
        rig.pool.wake("p1")
        await rig.pass_until("p1", PoolState.FAILED)
        await house.clock.pass_time(1.0)
        seen = rig.scrape()
        assert seen("boot_failures_total", node="p1") == 1
        assert seen("power_ups_total", node="p1", reason="hand") == 1
        assert seen("power_offs_total", node="p1", reason="failure") == 1
        assert seen("boot_duration_seconds_count") == 0

    play(house, scene, boot_timeout=BOOT_TIME / 2)


def test_a_power_off_that_fails_is_no_boot_that_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def off(*_: str) -> None:
        raise BackendError("stuck")

    async def scene(rig: Rig) -> None:
        rig.pool.wake("p1")
        await rig.pass_until("p1", PoolState.READY)
        monkeypatch.setattr(house.hat, "off", off)
        assert rig.pool.power_off("p1")
        await rig.pass_until("p1", PoolState.READY)  # it serves on
        seen = rig.scrape()
        assert seen("power_off_failures_total", node="p1") == 1
        assert seen.sum("boot_failures_total") == seen.sum("power_offs_total") == 0

    play(house, scene)


def test_the_registry_is_its_own(house: House) -> None:
    from prometheus_client import REGISTRY

    async def scene(rig: Rig) -> None:
        rig.text()
        assert "clusterhat" not in "".join(family.name for family in REGISTRY.collect())
        assert "python_info" not in rig.text()

    play(house, scene)
