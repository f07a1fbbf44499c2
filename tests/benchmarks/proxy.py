"""The reference proxy beside a bare aiohttp relay, and nginx where there is one.

All of them relay to one node, on a processor of their own where there are two.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from statistics import median
from time import clock_gettime, perf_counter, sleep
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.report import Row

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PEERS = "tests.benchmarks.proxy_peers"
CLIENTS, REQUESTS = 32, 3000
TURNS, PACED_TURNS = 7, 5
MOST = 1.0
"""Times the relay's processor time that a request may cost."""
HELD = 1000
COLD_LIMIT = 0.1
PATIENCE = 60.0

NGINX = """
daemon off; master_process off; pid %(folder)s/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi; uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
    upstream node { server 127.0.0.1:%(node)d; keepalive 64; }
    server {
        listen 127.0.0.1:%(port)d;
        location / {
            proxy_pass http://node; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $http_host;
        }
    }
}
"""


class Relay(NamedTuple):
    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of processor time that its threads have had: clock_getcpuclockid(3)."""
        return clock_gettime((~self.pid << 3) | 2)

    def memory(self) -> int:
        """Bytes that are resident."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure() -> Iterator[Row]:
    if not sys.platform.startswith("linux"):
        yield Row("the proxy", "", "not measured", "needs Linux", None)
        return
    processors = sorted(os.sched_getaffinity(0))
    first, last = processors[0], processors[-1]
    os.sched_setaffinity(0, {last})
    try:
        with _process([sys.executable, "-m", f"{PEERS}.node"], last) as node:
            yield from _warm(node, first)
            yield from _memory(node, first)
        yield _cold(first)
    finally:
        os.sched_setaffinity(0, processors)


# Processes ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _process(argv: Sequence[str], processor: int) -> Generator[Relay]:
    """A program that says on its first line where it listens."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RPI_CLUSTERHAT_")}
    env["RPI_CLUSTERHAT_CONFIG"] = os.devnull
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            os.sched_setaffinity(process.pid, {processor})
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r":(\d+)/?$", line)
            assert found, f"{argv[0]} did not start: {line!r}"
            yield Relay(process.pid, int(found[1]))
        finally:
            process.terminate()


def _proxy(processor: int, *options: str) -> contextlib.AbstractContextManager[Relay]:
    common = ["--cold", "hold", "--log-level", "warning"]
    proxy = [
        sys.executable,
        "-m",
        "clusterhat_proxy",
        "--listen",
        "127.0.0.1:0",
        "--backend",
        "sim",
        "--spacing",
        "0",
    ]
    return _process([*proxy, "--idle-timeout", "never", "--drain-timeout", "0", *common, *options], processor)


def _ours(node: Relay, processor: int) -> contextlib.AbstractContextManager[Relay]:
    to_node = [option for n in range(1, 5) for option in ("--node", f"p{n}=127.0.0.1:{node.port}")]
    return _proxy(processor, *to_node, "--admin", "off", "--boot-time", "0", "--maxconn", "2000")


def _aiohttp(node: Relay, processor: int) -> contextlib.AbstractContextManager[Relay]:
    return _process([sys.executable, "-m", f"{PEERS}.aiohttp_relay", str(node.port)], processor)


@contextlib.contextmanager
def _nginx(program: str, node: Relay, processor: int) -> Generator[Relay]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write(NGINX % {"folder": folder, "node": node.port, "port": port})
        argv = [program, "-p", folder, "-e", "stderr", "-c", f"{folder}/nginx.conf"]
        with subprocess.Popen(argv) as process:
            try:
                os.sched_setaffinity(process.pid, {processor})
                _until_open(port)
                yield Relay(process.pid, port)
            finally:
                process.terminate()


def _until_open(port: int) -> None:
    end = perf_counter() + PATIENCE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert perf_counter() < end, f"nothing listens on port {port}"
        sleep(0.01)


# Warm requests ------------------------------------------------------------------------------------------


class Load(NamedTuple):
    seconds: float
    p99: float
    cpu: float
    """Seconds of the relay's processor time per request."""


def _load(relay: Relay, requests: int = REQUESTS, rate: float | None = None) -> Load:
    argv = [sys.executable, "-m", f"{PEERS}.load", str(relay.port), "run", str(CLIENTS), str(requests)]
    before = relay.cpu()
    ran = subprocess.run(
        argv if rate is None else [*argv, f"{rate:.1f}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )
    cpu = (relay.cpu() - before) / requests
    said = json.loads(ran.stdout)
    return Load(said["seconds"], said["latencies"][int(0.99 * requests)], cpu)


def _turns(relays: Mapping[str, Relay], turns: int, rate: float | None = None) -> dict[str, list[Load]]:
    """Loads of each, in turn: the machine's noise meets all."""
    found: dict[str, list[Load]] = {name: [] for name in relays}
    for _ in range(turns):
        for name, relay in relays.items():
            found[name].append(_load(relay, rate=rate))
    return found


def _warm(node: Relay, processor: int) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        relays = {
            "ours": stack.enter_context(_ours(node, processor)),
            "aiohttp": stack.enter_context(_aiohttp(node, processor)),
        }
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is not None:
            relays["nginx"] = stack.enter_context(_nginx(program, node, processor))
        for relay in relays.values():
            _load(relay, 1000)
        full = _turns(relays, TURNS)
        cost = {name: median(load.cpu for load in loads) * 1e6 for name, loads in full.items()}
        ratio = median(a.cpu / b.cpu for a, b in zip(full["ours"], full["aiohttp"], strict=True))
        beside = "; ".join(f"{name} {us:.0f} µs" for name, us in cost.items() if name != "ours")
        yield Row(
            "proxy: CPU of a warm request",
            f"≤ {MOST} x an aiohttp relay's",
            f"x {ratio:.2f} ({cost['ours']:.0f} µs)",
            beside,
            ratio <= MOST,
        )
        rate = min(REQUESTS / load.seconds for name in ("ours", "aiohttp") for load in full[name]) / 2
        half = _turns({**relays, "direct": node}, PACED_TURNS, rate)
        late = {name: median(load.p99 for load in loads) * 1e3 for name, loads in half.items()}
        direct = late.pop("direct")
        beside = "; ".join(f"{name} + {ms - direct:.1f} ms" for name, ms in late.items() if name != "ours")
        yield Row(
            f"proxy: p99 at half load ({rate:.0f}/s)",
            "",
            f"direct + {late['ours'] - direct:.1f} ms",
            f"{beside}; direct {direct:.1f} ms",
            None,
        )


# Memory -------------------------------------------------------------------------------------------------


def _memory(node: Relay, processor: int) -> Iterator[Row]:
    for what, target, how in (
        ("an idle connection", "/", "answered"),
        ("a request that its node holds", "/?delay=600", "asked"),
    ):
        sizes: list[float] = []
        for make in (_ours, _aiohttp):
            with make(node, processor) as relay:
                _load(relay, 1000)
                sizes.append(_each(relay, target, how))
        yield Row(f"proxy: memory of {what}", "", f"{sizes[0]:.1f} KiB", f"aiohttp {sizes[1]:.1f} KiB", None)
    with _proxy(
        processor, "--admin", "off", "--boot-time", "600", "--boot-timeout", "900", "--queue", "2000"
    ) as ours:
        size = _each(ours, "/", "asked")
    yield Row("proxy: memory of a request that waits for power", "", f"{size:.1f} KiB", "", None)


def _each(relay: Relay, target: str, how: str) -> float:
    """KiB per connection."""
    before = relay.memory()
    argv = [sys.executable, "-m", f"{PEERS}.load", str(relay.port), "hold", str(HELD), target, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as load:
        assert load.stdout is not None
        said = load.stdout.readline()
        assert said == "held\n", said
        _until_quiet(relay)
        return (relay.memory() - before) / HELD / 1024


def _until_quiet(relay: Relay) -> None:
    """It has come to an end with what it was sent."""
    while True:
        before = relay.cpu()
        sleep(0.5)
        if relay.cpu() - before < 0.05:
            return


# Cold ---------------------------------------------------------------------------------------------------


def _cold(processor: int) -> Row:
    """A held request is answered so long after its node's own port has opened."""
    later: list[float] = []
    for boot_time in ("0.70", "0.73", "0.77"):  # between two probes now here, now there
        with socket.create_server(("127.0.0.1", 0)) as free:
            admin = free.getsockname()[1]
        with _proxy(
            processor, "--admin", f"127.0.0.1:{admin}", "--boot-time", boot_time, "--balance", "roundrobin"
        ) as proxy:
            _until_open(admin)
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status", timeout=PATIENCE) as answer:
                nodes = json.load(answer)["nodes"].values()
            ports = [int(node["address"].rpartition(":")[2]) for node in nodes]
            while ports:
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: cluster.local\r\n\r\n")
                    ready = _first_open(ports)
                    opened = perf_counter()
                    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
                    later.append(perf_counter() - opened)
                ports.remove(ready)
    return Row(
        "proxy: cold answer after its node is ready",
        f"≤ {COLD_LIMIT * 1e3:.0f} ms",
        f"{median(later) * 1e3:.0f} ms, at most {max(later) * 1e3:.0f} ms",
        f"{len(later)} boots",
        max(later) <= COLD_LIMIT,
    )


def _first_open(ports: Sequence[int]) -> int:
    end = perf_counter() + PATIENCE
    while True:
        for port in ports:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
        assert perf_counter() < end, "no node came up"
        sleep(0.001)


if __name__ == "__main__":
    from tests.benchmarks.report import show

    print(show(list(measure())))
