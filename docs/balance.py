"""What each ``balance`` costs, as a chart and as tables; pages.py puts them on pages.

A pool's own decisions run on a clock that is moved. Requests come at random times, from a fixed seed.
"""

from __future__ import annotations

import heapq
from functools import cache, partial
from html import escape
from itertools import count
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat import PoolSettings
from rpi_clusterhat.pool.actions import Boot, CutPower, WatchIdle
from rpi_clusterhat.pool.balance import BALANCERS
from rpi_clusterhat.pool.queue import LeaseRequest
from rpi_clusterhat.pool.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = ("p1", "p2", "p3", "p4")
SPACING, BOOT_TIME = 2.0, 20.0
NODE_POWER, CONTROLLER_POWER = 0.65, 1.2
"""Watts of an idle node, and of the controller with the HAT: a magazine's 3.8 W with four idle Zeros and
1.2 W without."""
CLIENTS = 100
"""For ``hash``: each request is from one of them."""
REQUESTS = 5000
SEED = 2010
TIMEOUTS = (60, 120, 300, 600, 1200)
"""Seconds. None is below ``min_on_time``, which so plays no part."""


class Load(NamedTuple):
    title: str
    per_minute: float
    seconds: float
    """That a request takes."""
    maxconn: int


LOADS = (
    Load("one request a minute", 1, 0.2, 100),
    Load("one in five minutes", 0.2, 0.2, 100),
    Load("five of 10 s a minute, maxconn 1", 5, 10, 1),
)


class Outcome(NamedTuple):
    cold: float
    """The share of requests that had to wait."""
    nodes: float
    """With power, in the mean."""

    @property
    def watts(self) -> float:
        return CONTROLLER_POWER + NODE_POWER * self.nodes


def _random(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # the same in each run, on purpose


# The run --------------------------------------------------------------------------------------------


class _Request(LeaseRequest):
    def __init__(self, run: Run, key: str) -> None:
        super().__init__(key=key)
        self._run = run

    def answered(self) -> None:
        self._run.serve(self)


class Run:
    """Does at once what a pool's driver would wait for."""

    def __init__(self, load: Load, balance: str, timeout: float) -> None:
        settings = PoolSettings(balance=balance, idle_timeout=timeout, maxconn=load.maxconn)
        self.now = 0.0
        self.load = load
        self.core = Scheduler(NODES, settings, lambda: self.now, random=_random(SEED + 1))
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._rail = 0.0
        self._cold = 0

    def outcome(self) -> Outcome:
        draw = _random(SEED)
        at = 0.0
        for _ in range(REQUESTS):
            at += draw.expovariate(self.load.per_minute / 60)
            request = _Request(self, str(draw.randrange(CLIENTS)))
            self._at(at, partial(self._ask, request))
        while self._due and self._due[0][0] <= at:
            self.now, _, happen = heapq.heappop(self._due)
            happen()
            self._act()
        self.now = at
        powered = sum(member.powered_for(at) for member in self.core.nodes.values())
        return Outcome(self._cold / REQUESTS, powered / at)

    def serve(self, request: LeaseRequest) -> None:
        self._at(self.now + self.load.seconds, lambda: self.core.release(request))

    def _at(self, when: float, happen: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._number), happen))

    def _ask(self, request: LeaseRequest) -> None:
        if self.core.ask(request):
            self.serve(request)
        else:
            self._cold += 1

    def _act(self) -> None:
        core = self.core
        while core.actions:
            action = core.actions.popleft()
            if isinstance(action, Boot):
                self._boot(action.node)
            elif isinstance(action, CutPower):
                core.powered_off(action.node, action.reason)
            elif isinstance(action, WatchIdle):
                self._look(action.node)

    def _boot(self, name: str) -> None:
        self._rail = max(self.now, self._rail + SPACING)
        self._at(self._rail, lambda: self.core.powered(name))
        self._at(self._rail + BOOT_TIME, lambda: self.core.ready(name))

    def _look(self, name: str) -> None:
        if self.core.check_idle(name):
            self._at(self.core.due_at(name), lambda: self._look(name))


@cache
def outcome(load: Load, balance: str, timeout: float) -> Outcome:
    return Run(load, balance, timeout).outcome()


# The drawing ----------------------------------------------------------------------------------------

WIDTH, HEIGHT = 760, 770
COLOURS = {
    "random": "#0072b2",
    "roundrobin": "#b8860b",
    "leastconn": "#d55e00",
    "first": "#007a5a",
    "hash": "#a0428a",
}
"""Apart also for those who see red and green alike; each has a mark of its own besides."""


def _mark(balance: str, x: float, y: float) -> str:
    colour = COLOURS[balance]
    match balance:
        case "random":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
        case "roundrobin":
            return f'<path d="M{x:.1f} {y - 6:.1f} l6 11 h-12 z" fill="{colour}"/>'
        case "leastconn":  # a ring, since it often lies around first's
            ring = f'fill="none" stroke="{colour}" stroke-width="2"'
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" {ring}/>'
        case "first":
            return f'<path d="M{x - 4.5:.1f} {y - 4.5:.1f} h9 v9 h-9 z" fill="{colour}"/>'
        case _:
            return f'<path d="M{x:.1f} {y - 6.5:.1f} l6.5 6.5 l-6.5 6.5 l-6.5 -6.5 z" fill="{colour}"/>'


class Panel(NamedTuple):
    load: Load
    x: float
    y: float
    width: float
    height: float
    most: float = 1.0
    """The share at its right end."""
    labelled: tuple[tuple[str, int, int], ...] = ()
    """Where the time-outs are written: beside whose marks, and how far from them."""

    def at(self, outcome: Outcome) -> tuple[float, float]:
        return self.x + outcome.cold / self.most * self.width, self.y + self.height * (
            1 - outcome.nodes / len(NODES)
        )

    def draw(self) -> list[str]:
        parts = [
            f'<text class="title" x="{self.x:.0f}" y="{self.y - 20:.0f}">{escape(self.load.title)}</text>',
            *self._grid(),
        ]
        for balance in BALANCERS:
            points = [self.at(outcome(self.load, balance, timeout)) for timeout in TIMEOUTS]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" stroke="{COLOURS[balance]}"/>')
            parts += [_mark(balance, x, y) for x, y in points]
        for balance, dx, dy in self.labelled:
            labels: list[tuple[float, float, list[str]]] = []
            for timeout in TIMEOUTS:
                x, y = self.at(outcome(self.load, balance, timeout))
                if labels and labels[-1][0] - x < 40:  # marks so close share a label
                    labels[-1][2].append(f"{timeout / 60:g}")
                else:
                    labels.append((x, y, [f"{timeout / 60:g}"]))
            for x, y, minutes in labels:
                words = ", ".join(minutes)
                parts.append(f'<text class="note" x="{x + dx:.1f}" y="{y + dy:.1f}">{words} min</text>')
        return parts

    def _grid(self) -> list[str]:
        parts: list[str] = []
        for nodes in range(len(NODES) + 1):
            y = self.at(Outcome(0, nodes))[1]
            watts = Outcome(0, nodes).watts
            right = self.x + self.width
            parts += [
                f'<path class="grid" d="M{self.x:.0f} {y:.1f} H{right:.0f}"/>',
                f'<text class="left" x="{self.x - 14:.0f}" y="{y + 5:.1f}">{nodes}</text>',
                f'<text x="{right + 8:.0f}" y="{y + 5:.1f}">{watts:.1f} W</text>',
            ]
        for fifth in range(6):
            percent = round(fifth * 20 * self.most)
            x = self.at(Outcome(percent / 100, 0))[0]
            bottom = self.y + self.height
            parts += [
                f'<path class="grid" d="M{x:.1f} {self.y:.0f} V{bottom:.0f}"/>',
                f'<text class="middle" x="{x:.1f}" y="{bottom + 20:.0f}">{percent} %</text>',
            ]
        return parts


PANELS = (
    Panel(LOADS[0], 50, 126, 640, 290, labelled=(("random", 10, -7), ("first", -6, 28))),
    Panel(LOADS[1], 50, 516, 260, 190),
    Panel(LOADS[2], 430, 516, 260, 190, most=0.25),
)

DESCRIPTION = (
    "Each mark is one idle time-out, from 20 minutes at a line's left end to one minute at its right end. "
    "With one request a minute, random, roundrobin and hash keep most of the four nodes on and yet let many "
    "requests wait; first and leastconn keep one on and let few wait. The table beside it has all numbers."
)


def svg() -> str:
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="title desc">'
        ),
        '<title id="title">Nodes with power against requests that wait, for each balance</title>',
        f'<desc id="desc">{escape(DESCRIPTION)}</desc>',
        (
            "<style>text{font:14px 'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#222}"
            ".title{font-weight:bold}.left{text-anchor:end}.middle{text-anchor:middle}"
            ".note{font-size:12px;fill:#444;stroke:#fff;stroke-width:4px;paint-order:stroke}"
            ".grid{stroke:#d5dbe3;fill:none}polyline{fill:none;stroke-width:1.5}</style>"
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        '<text x="24" y="34">nodes with power, in the mean, and watts with the controller\'s</text>',
    ]
    x = 30.0
    for balance in BALANCERS:
        lines += [_mark(balance, x, 61), f'<text x="{x + 14:.0f}" y="66">{balance}</text>']
        x += 32 + 9.5 * len(balance)
    for panel in PANELS:
        lines += panel.draw()
    middle = PANELS[0].x + PANELS[0].width / 2
    lines += [
        f'<text class="middle" x="{middle:.0f}" y="458">requests that wait for a node</text>',
        f'<text class="middle" x="{middle:.0f}" y="750">requests that wait for a node</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


# The table ------------------------------------------------------------------------------------------


def _time(seconds: float) -> str:
    return f"{seconds / 60:g} min"


def _cell(found: Outcome) -> str:
    cold = f"{found.cold:.1%}" if found.cold >= 0.001 else "< 0.1%"
    return f"{found.nodes:.2f}, {cold.replace('%', ' %')}"


def markdown() -> str:
    """For each load: nodes with power in the mean, and the share of requests that wait."""
    lines: list[str] = []
    for load in LOADS:
        lines += [
            f"**{load.title[0].upper()}{load.title[1:]}**",
            "",
            "| idle time-out | " + " | ".join(f"`{balance}`" for balance in BALANCERS) + " |",
            "| --- |" + " --- |" * len(BALANCERS),
        ]
        for timeout in TIMEOUTS:
            cells = [_cell(outcome(load, balance, timeout)) for balance in BALANCERS]
            lines.append(f"| {_time(timeout)} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
