"""What the network counters of the controller say of a node."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.pool.activity import INTERVAL, THRESHOLD, Counters, Traffic

if TYPE_CHECKING:
    from pathlib import Path


def device(root: Path, name: str, rx: object, tx: object) -> None:
    folder = root / name / "statistics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rx_bytes").write_text(f"{rx}\n")
    (folder / "tx_bytes").write_text(f"{tx}\n")


def test_both_directions_count(tmp_path: Path) -> None:
    device(tmp_path, "ethpi3", 1000, 2**40)
    counters = Counters(root=str(tmp_path))
    assert counters.read("p3") == 2**40 + 1000
    assert counters.read("p33") is None
    assert repr(counters) == "<Counters ethpi{number}>"


def test_other_names_of_devices(tmp_path: Path) -> None:
    device(tmp_path, "usb-p12", 1, 2)
    device(tmp_path, "ethupi12.7", 3, 4)
    assert Counters("usb-{name}", root=str(tmp_path)).read("p12") == 3
    assert Counters("ethupi{number}.7", root=str(tmp_path)).read("p12") == 7


@pytest.mark.parametrize("direction", ["rx_bytes", "tx_bytes"])
@pytest.mark.parametrize("text", [None, "", "none\n"])
def test_a_device_that_leaves_while_it_is_read(tmp_path: Path, direction: str, text: str | None) -> None:
    device(tmp_path, "ethpi1", 1, 2)
    file = tmp_path / "ethpi1" / "statistics" / direction
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert Counters(root=str(tmp_path)).read("p1") is None


@pytest.mark.parametrize(
    "interface",
    [
        "",
        "eth0",
        "{}",
        "{other}",
        "../{name}",
        "a/{number}",
        "e{number}{",
        "e {name}",
        "{name}\n",
        "e:{name}",
    ],
)
def test_wrong_interfaces(interface: str) -> None:
    with pytest.raises(
        SettingError, match=r"^Invalid value for interface: .*: expected a network device's name"
    ):
        Counters(interface)


@pytest.mark.parametrize("threshold", [0, -1])
def test_wrong_thresholds(threshold: int) -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for threshold: "):
        Traffic(Counters(), threshold)


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_wrong_intervals(interval: float) -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for interval: "):
        Traffic(Counters(), interval=interval)


class Numbers:
    """Counters in memory."""

    def __init__(self) -> None:
        self.bytes: dict[str, int | None] = {}

    def read(self, name: str) -> int | None:
        return self.bytes.get(name)


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


def look(traffic: Traffic, numbers: Numbers, *looks: tuple[float, int | None]) -> list[bool]:
    found: list[bool] = []
    for now, count in looks:
        numbers.bytes["p1"] = count
        found.append(traffic.active("p1", now))
    return found


def test_a_threshold_per_interval(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    looks = [(0, 5000), (10, 5099), (20, 5199), (30, 5298), (40, 5298)]
    assert look(traffic, numbers, *looks) == [False, False, True, False, False]


def test_bytes_add_up_over_many_looks(numbers: Numbers) -> None:
    """An ssh session that moves little between two looks is seen nevertheless."""
    traffic = Traffic(numbers, 100, interval=10)
    assert look(traffic, numbers, *((t, 30 * t) for t in range(9))) == [
        *[False, False, False, False, True],
        *[False, False, False, True],
    ]


def test_chatter_does_not_add_up_over_many_intervals(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    assert not any(look(traffic, numbers, *((t, 9 * t) for t in range(200))))
    assert look(traffic, numbers, (1000, 9000), (1600, 14400)) == [False, False]


def test_the_threshold_grows_with_a_long_time_between_looks(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    assert look(traffic, numbers, (0, 0), (100, 999), (200, 1999)) == [False, False, True]


def test_a_counter_that_goes_backwards_is_a_new_start(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    looks = [(0, 10**6), (1, 500), (2, 599), (3, 600)]
    assert look(traffic, numbers, *looks) == [False, False, False, True]


def test_a_node_that_was_away_starts_anew(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    looks: list[tuple[float, int | None]] = [(0, 0), (1, None), (2, 10**6), (3, 10**6 + 100)]
    assert look(traffic, numbers, *looks) == [False, False, False, True]


def test_nodes_are_told_apart(numbers: Numbers) -> None:
    traffic = Traffic(numbers, 100, interval=10)
    numbers.bytes = {"p1": 0, "p2": 0}
    assert not traffic.active("p1", 0)
    assert not traffic.active("p2", 0)
    numbers.bytes["p1"] = 100
    assert traffic.active("p1", 1)
    assert not traffic.active("p2", 1)


def test_the_defaults_tell_chatter_from_use(numbers: Numbers) -> None:
    minute = int(INTERVAL)
    traffic = Traffic(numbers)
    assert not any(look(traffic, numbers, *((60 * t, 1300 * t) for t in range(60))))
    numbers.bytes["p1"] = None
    assert not traffic.active("p1", 0)
    assert look(traffic, numbers, (0, 0), (minute, THRESHOLD)) == [False, True]


STEPS = st.lists(
    st.tuples(st.integers(1, 64).map(lambda n: n / 8), st.one_of(st.none(), st.integers(0, 400))), max_size=40
)


@given(STEPS, st.integers(1, 300), st.sampled_from([0.5, 4.0, 16.0]))
def test_activity_needs_the_bytes_and_a_steady_stream_of_them_is_activity(
    steps: list[tuple[float, int | None]], threshold: int, interval: float
) -> None:
    """Seen from outside: between two findings of activity (or a start) lie at least the threshold's bytes,
    and where each step brings enough for all of its time, every one of them is activity."""
    numbers = Numbers()
    traffic = Traffic(numbers, threshold, interval=interval)
    now, total = 0.0, 0
    unspent: int | None = None
    for seconds, moved in steps:
        now += seconds
        if moved is None:
            numbers.bytes["p1"], unspent = None, None
            assert not traffic.active("p1", now)
            continue
        total += moved
        numbers.bytes["p1"] = total
        is_active = traffic.active("p1", now)
        if unspent is None:
            assert not is_active
            unspent = 0
            continue
        unspent += moved
        if is_active:
            assert unspent >= threshold
            unspent = 0

    for _ in range(5):
        now += interval
        numbers.bytes["p1"] = total = total + 3 * threshold
        traffic.active("p1", now)
        now += interval / 2
        numbers.bytes["p1"] = total = total + 3 * threshold
        assert traffic.active("p1", now)
