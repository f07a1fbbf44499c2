"""The reference proxy, run by ordinary users: requests over loopback switch lines of a real kernel."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from rpi_clusterhat_sim.listener import Listener
from rpi_clusterhat_sim.service import Echo
from tests.kernel.inside.banks import GpiodOnGpioSim, GpiodOnPca953x, RawExpander
from tests.kernel.inside.bench import until
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.kernel.inside.banks import Bank

BANKS: dict[str, Callable[[], Bank]] = {
    "gpiod on gpio-sim": GpiodOnGpioSim,
    "i2c": RawExpander,
    "gpiod on pca953x": GpiodOnPca953x,
}
NAMES = ("p1", "p2", "p3", "p4")
TOKEN = "for-these-tests-only"


@pytest.fixture(scope="module")
def services() -> Iterator[list[str]]:
    """What nodes serve, up all the time; how the proxy is told where they are."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start(name: str) -> tuple[Listener, str]:
        sock = socket.create_server(("127.0.0.1", 0))
        return Listener(sock, Echo(name)), f"--node={name}=127.0.0.1:{sock.getsockname()[1]}"

    async def stop(listener: Listener) -> None:
        listener.abort()
        await listener.wait_aborted()

    running = [asyncio.run_coroutine_threadsafe(start(name), loop).result(PATIENCE) for name in NAMES]
    yield [option for _, option in running]
    for listener, _ in running:
        asyncio.run_coroutine_threadsafe(stop(listener), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextmanager
def made(bank: Bank) -> Generator[Bank]:
    bank.reset()
    try:
        yield bank
    finally:
        bank.remove()


@pytest.fixture
def expander() -> Iterator[RawExpander]:
    bank = RawExpander()
    with made(bank):
        yield bank


def proxy(bank: Bank, services: list[str], *more: str, user: str = "alice") -> Proxy:
    options = ["--backend", bank.backend, "--board", bank.version, "--cold", "hold", *services, *more]
    options += [f"--option={name}={value}" for name, value in bank.options.items()]
    return Proxy(*options, sim=False, dev=False, user=user, env={"CLUSTERHAT_PROXY_ADMIN_TOKEN": TOKEN})


@pytest.mark.parametrize("kind", BANKS)
def test_a_request_switches_a_line_and_silence_switches_it_off(kind: str, services: list[str]) -> None:
    short = ("--idle-timeout", "1", "--min-on-time", "0", "--balance", "first", "--admin", "off")
    with made(BANKS[kind]()) as bank, bank.watch() as changes, proxy(bank, services, *short) as ours:
        first, *others = bank.offsets
        low = dict.fromkeys(bank.offsets, False)
        assert bank.outside() == low
        assert ours.request("/over/loopback").json["node"] == "p1"
        answered = time.monotonic()
        assert bank.outside() == {**low, first: True}
        assert ours.request("/again").json["node"] == "p1"
        until(lambda: bank.outside() == low, "no line is high")
        assert time.monotonic() - answered >= 1
        assert [level for offset, level in changes() if offset == first][-2:] == [True, False]
        assert not any(level for offset, level in changes() if offset in others)


def test_two_users_proxies_keep_the_spacing_between_them(expander: RawExpander, services: list[str]) -> None:
    spacing = ("--spacing", "0.3")
    with (
        proxy(expander, services, *spacing) as alices,
        proxy(expander, services, *spacing, user="bob") as bobs,
        ThreadPoolExecutor(4) as pool,
    ):
        expander.bus.forget()
        asked = [pool.submit(_switch_on, who, f"p{i}") for i, who in enumerate((alices, bobs) * 2, 1)]
        assert [answer.result() for answer in asked] == [200] * 4
        until(lambda: all(expander.outside().values()), "all nodes have power")
        # A node that another has switched on is used as it is.
        assert {ours.request().status for ours in (alices, bobs)} == {200}
        found = expander.bus.pin_changes()
    ups = [at for at, _ in found]
    assert [pins.bit_count() for _, pins in found] == [1, 2, 3, 4]
    assert min(after - before for before, after in pairwise(ups)) >= 0.3


def _switch_on(ours: Proxy, name: str) -> int:
    body = urlencode({"token": TOKEN}).encode()
    request = Request(f"{ours.admin}/nodes/{name}/on", body, {"Accept": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        status: int = answer.status
        return status


@pytest.mark.parametrize("kind", ["gpiod on gpio-sim", "i2c"])
def test_who_may_not_switch_is_told_so_in_one_line(kind: str, services: list[str]) -> None:
    told = r"^the proxy did not start: clusterhat-proxy: .*/dev/.* group (gpio|i2c).*\n?\Z"
    with made(BANKS[kind]()) as bank:
        ours = proxy(bank, services, user="mallory")
        with pytest.raises(AssertionError, match=told), ours:
            pass
        assert ours.process.returncode == 1
        assert not any(bank.outside().values())
