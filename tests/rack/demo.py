"""The proxy in front of real nodes, which are dark: make rack-demo

    python -m tests.rack.demo [NODES]

Requests wake the nodes. One of them is cut by hand. The others are idle after a while: the proxy halts each
over its console, and cuts its power then. Their disks tell the difference. The exit code is 1 if anything
went otherwise.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from rpi_clusterhat_sim.rack.disk import is_clean
from rpi_clusterhat_sim.rack.shared import folder_of

from .machine.building import default_place
from .machine.image import PASSWORDS

if TYPE_CHECKING:
    from collections.abc import Generator

IDLE = 10.0
"""Seconds without a request, after which a node is halted."""
LIMIT = 240.0
"""Seconds for all nodes to boot, and for all of them to halt: far more than that takes."""

SETTINGS = """
backend = "sim"
board = "2.3"
options = {{ state = "{state}", nodes = "rack" }}

[node]
halt = ["console"]
user = "root"
secret_file = "{secret}"
"""


class Demo:
    """Tells what happens with the time at which it does, and keeps what did not happen as it should."""

    def __init__(self, folder: str) -> None:
        self.state = os.path.join(folder, "board")
        self.settings = os.path.join(folder, "settings.toml")
        secret = os.path.join(folder, "password")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(PASSWORDS["root"])
        with open(self.settings, "w", encoding="utf-8") as file:
            file.write(SETTINGS.format(state=self.state, secret=secret))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RPI_CLUSTERHAT_")}
        self.env = {**kept, "RPI_CLUSTERHAT_CONFIG": self.settings}
        self.mistakes = 0
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", flush=True)

    def check(self, text: str, *, holds: bool) -> None:
        self.mistakes += not holds
        self.say(f"{'[ok]' if holds else '[NOT SO]'} {text}")

    @contextmanager
    def running(self, lines: int, *command: str) -> Generator[list[str]]:
        """A program, with the first lines that it prints."""
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509  # there are no threads yet
        )
        with process:
            assert process.stdout is not None
            said = [process.stdout.readline().strip() for _ in range(lines)]
            if not all(said):  # it has said why
                sys.exit(process.wait())
            try:
                yield said
            finally:
                process.send_signal(signal.SIGTERM)

    def command(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "rpi_clusterhat", *words], env=self.env, check=True)

    def is_clean(self, node: str) -> bool:
        return is_clean(os.path.join(folder_of(self.state), f"{node}.cow"))


def end_with_parent() -> None:
    """Has this process get SIGTERM when its parent ends, however that does."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of prctl(2)


def ask(url: str) -> Any:
    with urlopen(url, timeout=LIMIT) as answer:
        return json.load(answer)


def wake(demo: Demo, proxy: str, nodes: list[str]) -> None:
    demo.say(f"{len(nodes)} nodes are off. As many requests at once:")
    with ThreadPoolExecutor(len(nodes)) as pool:
        answers = list(pool.map(ask, [f"{proxy}{number}" for number in range(len(nodes))]))
    for answer in answers:
        demo.say(f"  {answer['node']} answered {answer['uptime']:.1f} s after its start")
    demo.check("each was answered by a node of its own", holds={a["node"] for a in answers} == {*nodes})


def cut(demo: Demo, node: str) -> None:
    demo.say(f"Somebody cuts {node}: rpi-clusterhat off {node} --now")
    demo.command("off", node, "--now")
    demo.check(f"the disk of {node} was not left cleanly", holds=not demo.is_clean(node))


def wait_for_idle(demo: Demo, admin: str, nodes: list[str]) -> None:
    demo.say(f"Nobody asks for anything. After {IDLE:g} s, the proxy halts each node over its console.")
    end = time.monotonic() + LIMIT
    known = dict.fromkeys(nodes, "ready")
    while any(state != "off" for state in known.values()) and time.monotonic() < end:
        for node in nodes:
            state = ask(f"{admin}status")["nodes"][node]["state"]
            if state != known[node]:
                demo.say(f"  {node}: {known[node]} -> {state}")
                known[node] = state
        time.sleep(0.1)
    for node in nodes:
        demo.check(f"{node} is off, and its disk clean", holds=known[node] == "off" and demo.is_clean(node))


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 4
    nodes = [f"p{number}" for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory(prefix="rack-demo-") as folder, ExitStack() as stack:
        demo = Demo(folder)
        rack = ("rpi_clusterhat_sim.rack", "--rack", default_place(), "--nodes", "4", demo.state)
        stack.enter_context(demo.running(1, *rack))
        listen = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warning")
        times = ("--idle-timeout", f"{IDLE:g}", "--min-on-time", "0", "--queue-timeout", f"{LIMIT:g}")
        # One request per node, so that each needs one of its own.
        routing = ("--maxconn", "1", "--nodes", str(count), "--cold", "hold", "--boot-timeout", f"{LIMIT:g}")
        lines = stack.enter_context(demo.running(2, "clusterhat_proxy", *listen, *times, *routing))
        proxy, admin = (f"http://{line.rpartition('//')[2].rstrip('/')}/" for line in lines)
        wake(demo, proxy, nodes)
        cut(demo, nodes[1])
        wait_for_idle(demo, admin, [nodes[0], *nodes[2:]])
    return 1 if demo.mistakes else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
