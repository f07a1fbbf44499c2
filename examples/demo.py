"""What the library is for, shown on the simulation: no hardware is needed or touched.

    python examples/demo.py           # takes about 20 seconds, and checks itself
    python examples/demo.py --serve   # leaves the proxy running, for a browser

A proxy stands in front of four simulated nodes, which are off. Each is switched on when a request needs it,
in its turn on the supply that they share, and off again when there has been no traffic. The exit code is 1
if anything went otherwise than this text says.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from clusterhat_proxy.terminal import Terminal

SPACING, BOOT_TIME, IDLE_TIMEOUT = 1.0, 1.5, 5.0
"""Seconds. Real nodes take longer, but this is to be watched."""


def ask(
    address: str, target: str, fields: dict[str, str], body: Iterator[bytes] | None = None
) -> tuple[int, Any, bytes]:
    with closing(HTTPConnection(address)) as connection:
        connection.request("GET" if body is None else "POST", target, body, fields)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def tell(text: str) -> None:
    """Prints a line, and ends the program when nobody can read it."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        closed = isinstance(error, BrokenPipeError)
        sys.exit(141 if closed else f"demo.py: cannot write the output: {error.strerror}")


class Demo:
    """Tells what happens with the time at which it does, and keeps what did not happen as it should."""

    def __init__(self, proxy: str, admin: str) -> None:
        self.proxy = proxy
        self.admin = admin
        self.mistakes = 0
        self.woken: list[float] = []
        self._start = time.monotonic()
        self._states: dict[str, str] = {}
        self._over = threading.Event()

    def say(self, text: str = "") -> None:
        tell(f"{time.monotonic() - self._start:6.2f} s  {text}".rstrip() if text else "")

    def check(self, text: str, *, holds: bool) -> None:
        self.mistakes += not holds
        self.say(f"{'[ok]' if holds else '[NOT SO]'} {text}")

    # What it does -----------------------------------------------------------------------------------------

    def get(self, target: str, **fields: str) -> tuple[int, Any, bytes]:
        """Status, header fields and body of the proxy's answer."""
        return ask(self.proxy, target, fields)

    def send(self, target: str, body: Iterator[bytes]) -> tuple[int, Any, bytes]:
        return ask(self.proxy, target, {}, body)

    def nodes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(self.admin, "/status", {})[2])["nodes"]
        return found

    def until_off(self, seconds: float) -> bool:
        """Waits until no node has power; whether that was so in time."""
        end = time.monotonic() + seconds
        while any(node["powered"] for node in self.nodes().values()):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    # What it sees -----------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Generator[None]:
        """Tells of each change of a node's state meanwhile."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for name, node in self.nodes().items():
                state = node["state"]
                before = self._states.get(name, "off")
                if state != before:
                    self._states[name] = state
                    if state == "on":
                        self.woken.append(time.monotonic())
                    self.say(f"  {name}: {before} -> {state}")


def one_request(demo: Demo) -> None:
    demo.say("1. All nodes are off. One request:")
    began = time.monotonic()
    status, _, body = demo.get("/hello")
    took = time.monotonic() - began
    demo.check(
        f"{json.loads(body)['node']} was switched on for it and answered {status} after {took:.1f} s",
        holds=status == 200 and took >= BOOT_TIME,
    )
    demo.say()


def many_requests(demo: Demo) -> None:
    demo.say("2. 40 requests at once, each for a node at random:")
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(demo.get, [f"/{i}" for i in range(40)]))
    served = {json.loads(body)["node"] for _, _, body in answers}
    demo.check(
        f"all were answered, by {', '.join(sorted(served))}", holds=all(s == 200 for s, _, _ in answers)
    )
    gaps = [later - earlier for earlier, later in zip(demo.woken, demo.woken[1:], strict=False)]
    demo.check(
        f"never two nodes got power within {SPACING:g} s of each other",
        holds=len(gaps) == len(served) - 1 > 0 and all(gap > SPACING - 0.1 for gap in gaps),
    )
    began = time.monotonic()
    demo.get("/warm")
    took = time.monotonic() - began
    demo.check(f"now that they are up, one takes {took * 1000:.0f} ms", holds=took < BOOT_TIME)
    demo.say()


def a_long_upload(demo: Demo) -> None:
    seconds = 1.5 * IDLE_TIMEOUT
    demo.say(f"3. An upload of {seconds:g} s; nodes go off after {IDLE_TIMEOUT:g} s without traffic:")
    status, _, body = demo.send("/upload", slowly(seconds))
    on = [name for name, node in demo.nodes().items() if node["powered"]]
    arrived = json.loads(body)["body"]["length"] if status == 200 else 0
    demo.check(f"it arrived whole, {arrived} bytes", holds=arrived == 1000 * round(seconds * 4))
    demo.check(f"only the node that took it is still on: {', '.join(on)}", holds=len(on) == 1)
    demo.check("and now it is off, too", holds=demo.until_off(IDLE_TIMEOUT + 2.0))
    demo.say()


def slowly(seconds: float) -> Iterator[bytes]:
    """A body that comes in pieces, four in a second."""
    for _ in range(round(seconds * 4)):
        time.sleep(0.25)
        yield bytes(1000)


def a_browser(demo: Demo) -> None:
    demo.say("4. A browser comes while all is off:")
    status, head, body = demo.get("/", Accept="text/html")
    demo.check(
        f"it gets a page that waits: {status}, Retry-After {head['Retry-After']}, {len(body)} bytes of HTML",
        holds=status == 503 and head["Retry-After"] is not None and b"<progress" in body,
    )


_SET_SIGNAL_AT_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def end_with(parent: int) -> None:
    """Has this process get SIGTERM when its parent ends, however that does, SIGKILL included."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def proxy(*options: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """The proxy's process, and the addresses that it prints."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RPI_CLUSTERHAT_")}
    env["RPI_CLUSTERHAT_CONFIG"] = os.devnull  # in place of this machine's settings
    argv = [
        sys.executable,
        "-m",
        "clusterhat_proxy",
        "--backend",
        "sim",
        "--log-level",
        "warning",
        "--max-connections",
        "500",
        "--drain-timeout",
        "1",
        *options,
    ]
    end_with_this = partial(end_with, os.getpid())
    with subprocess.Popen(
        argv,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_this,  # noqa: PLW1509  # there are no threads yet
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        if not all(lines):  # it has said why
            sys.exit(process.wait())
        try:
            yield process, lines
        finally:
            process.send_signal(signal.SIGTERM)


def show() -> int:
    times = (("--spacing", SPACING), ("--boot-time", BOOT_TIME), ("--idle-timeout", IDLE_TIMEOUT))
    options = [str(part) for option in times for part in option]
    listen = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--min-on-time", "0")
    with proxy(*options, *listen) as (_, lines):
        demo = Demo(*(line.rpartition("//")[2].rstrip("/") for line in lines))
        demo.say(f"The {lines[0]}, its {lines[1]}")
        demo.say()
        with demo.watching():
            for part in (one_request, many_requests, a_long_upload, a_browser):
                part(demo)
    if demo.mistakes:
        demo.say(f"Not so: {demo.mistakes}.")
    return 1 if demo.mistakes else 0


_SLOWER = ("--boot-time", "8", "--boot-estimate", "8", "--idle-timeout", "60", "--min-on-time", "0")


def until_it_ends(process: subprocess.Popen[str], terminal: Terminal) -> int:
    """Waits for its exit code, and ends it when the terminal is closed: only a shell's jobs hear of that."""
    while not terminal.has_hung_up():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    return process.wait()


def serve(*options: str) -> int:
    try:
        with proxy(*_SLOWER, *options) as (process, lines):
            from clusterhat_proxy.terminal import Terminal

            terminal = Terminal()
            tell("\n".join(lines))
            tell("Open both in a browser. Nodes boot in 8 s, and go off after a minute. Ctrl-C ends it.")
            return until_it_ends(process, terminal)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    if "MAKELEVEL" in os.environ:  # who kills make means this
        end_with(os.getppid())
    try:
        sys.exit(serve(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else show())
    except KeyboardInterrupt:
        sys.exit(130)
