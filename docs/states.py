"""The states of a node, and of a node in a pool, as drawings and tables; pages.py puts them on pages.

They are made from the library's own tables.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from rpi_clusterhat.nodes.halt.phases import TABLE as HALT_TABLE
from rpi_clusterhat.nodes.halt.phases import HaltPhase
from rpi_clusterhat.pool.states import TABLE as POOL_TABLE
from rpi_clusterhat.pool.states import PoolState
from rpi_clusterhat.power.states import TABLE, State, has_power

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

BOX_WIDTH, BOX_HEIGHT = 120, 44


class Point(NamedTuple):
    x: float
    y: float


class Frame(NamedTuple):
    """States that have something in common, drawn as one box around theirs."""

    title: str
    states: frozenset[StrEnum]
    x: float
    y: float
    width: float
    height: float
    leaves_at: float = 0
    """How high its arrows to the left begin."""


class Edge(NamedTuple):
    source: StrEnum | Frame
    target: StrEnum
    label: str


class Diagram(NamedTuple):
    """A table of states, and where each is drawn."""

    title: str
    table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]]
    places: Mapping[StrEnum, Point]
    frames: tuple[Frame, ...]
    width: int
    height: int


def _plain(table: Mapping[Any, Mapping[Any, StrEnum]]) -> dict[StrEnum, dict[StrEnum, StrEnum]]:
    return {state: dict(row) for state, row in table.items()}


def _with_power(*, on: bool) -> frozenset[StrEnum]:
    return frozenset(state for state in State if has_power(state) is on)


POWER = Diagram(
    "The states of a node and what moves it between them",
    _plain(TABLE),
    {
        State.UNKNOWN: Point(150, 50),
        State.FAILED: Point(550, 50),
        State.OFF: Point(150, 190),
        State.QUEUED: Point(150, 340),
        State.ON: Point(550, 190),
        State.READY: Point(770, 190),
        State.STOPPING: Point(660, 340),
    },
    (
        Frame("no power", _with_power(on=False), 50, 130, 200, 275),
        Frame("power", _with_power(on=True), 450, 130, 420, 275, 270),
    ),
    900,
    520,
)

_IN_USE: frozenset[StrEnum] = frozenset({PoolState.BOOTING, PoolState.CHECKING, PoolState.READY})

POOL = Diagram(
    "The states of a node in a pool and what moves it between them",
    _plain(POOL_TABLE),
    {
        PoolState.OFF: Point(130, 130),
        PoolState.QUEUED: Point(130, 300),
        PoolState.BOOTING: Point(430, 150),
        PoolState.CHECKING: Point(600, 330),
        PoolState.READY: Point(765, 150),
        PoolState.STOPPING: Point(600, 45),
        PoolState.FAILED: Point(300, 440),
    },
    (Frame("power", _IN_USE, 330, 100, 500, 280, 122),),
    900,
    560,
)

_ON: frozenset[StrEnum] = frozenset({HaltPhase.REFUSED, HaltPhase.CALLED_OFF})
_CUT: frozenset[StrEnum] = frozenset({HaltPhase.DOWN, HaltPhase.LATE})

HALT = Diagram(
    "The phases of a halt and what moves it from one to the next",
    _plain(HALT_TABLE),
    {
        HaltPhase.GUARDS: Point(110, 150),
        HaltPhase.ASKING: Point(310, 150),
        HaltPhase.GOING_DOWN: Point(540, 200),
        HaltPhase.SETTLING: Point(780, 100),
        HaltPhase.REFUSED: Point(110, 330),
        HaltPhase.CALLED_OFF: Point(250, 330),
        HaltPhase.OVER: Point(420, 400),
        HaltPhase.LATE: Point(590, 330),
        HaltPhase.DOWN: Point(790, 330),
    },
    (
        Frame("stays on", _ON, 30, 280, 300, 100),
        Frame("its power is cut", _CUT, 510, 280, 360, 100),
    ),
    900,
    520,
)

Moves = dict["tuple[StrEnum, StrEnum]", "set[StrEnum]"]


def _moves(diagram: Diagram) -> Moves:
    """From where each trigger leads to each other state; what changes nothing is left out."""
    moves: Moves = {}
    for state, row in diagram.table.items():
        for trigger, target in row.items():
            if target is not state:
                moves.setdefault((trigger, target), set()).add(state)
    return moves


def _edges(diagram: Diagram) -> tuple[list[Edge], list[tuple[StrEnum, StrEnum]]]:
    """The arrows, and the triggers that lead to the same state from every other one."""
    labels: dict[tuple[StrEnum | Frame, StrEnum], list[str]] = {}
    anywhere: list[tuple[StrEnum, StrEnum]] = []
    for (trigger, target), sources in _moves(diagram).items():
        if all(row.get(trigger) is target for row in diagram.table.values()):
            anywhere.append((trigger, target))
            continue
        left = set(sources)
        for frame in diagram.frames:
            if frame.states <= left:
                labels.setdefault((frame, target), []).append(trigger)
                left -= frame.states
        for state in diagram.table:
            if state in left:
                labels.setdefault((state, target), []).append(trigger)
    return [Edge(source, target, ", ".join(words)) for (source, target), words in labels.items()], anywhere


# The drawing ----------------------------------------------------------------------------------------


def _border(at: Point, toward: Point) -> Point:
    """Where the line from the middle of a state's box leaves the box."""
    dx, dy = toward.x - at.x, toward.y - at.y
    scale = min(
        (BOX_WIDTH / 2 / abs(dx)) if dx else float("inf"), (BOX_HEIGHT / 2 / abs(dy)) if dy else float("inf")
    )
    return Point(at.x + dx * scale, at.y + dy * scale)


def _arrow(start: Point, middle: Point, end: Point, label: str) -> list[str]:
    """A curve that is drawn toward ``middle``, with its label on it."""
    at = Point((start.x + 2 * middle.x + end.x) / 4, (start.y + 2 * middle.y + end.y) / 4 + 4)
    return [
        f'<path d="M{start.x:.0f} {start.y:.0f} Q{middle.x:.0f} {middle.y:.0f} {end.x:.0f} {end.y:.0f}"/>',
        f'<text class="label" x="{at.x:.0f}" y="{at.y:.0f}">{escape(label)}</text>',
    ]


def _between(a: Point, b: Point, bend: float = 0.0) -> Point:
    """The middle of a line, moved to its left by so much."""
    dx, dy = b.x - a.x, b.y - a.y
    length = (dx * dx + dy * dy) ** 0.5
    return Point((a.x + b.x) / 2 + dy / length * bend, (a.y + b.y) / 2 - dx / length * bend)


def _edge(places: Mapping[StrEnum, Point], edge: Edge, *, both_ways: bool) -> list[str]:
    target = places[edge.target]
    if isinstance(edge.source, Frame):
        frame = edge.source
        start = (
            Point(frame.x + frame.width, target.y) if frame.x < target.x else Point(frame.x, frame.leaves_at)
        )
        end = _border(target, start)
        return _arrow(start, _between(start, end), end, edge.label)
    source = places[edge.source]
    middle = _between(source, target, 44 if both_ways else 0)
    return _arrow(_border(source, middle), middle, _border(target, middle), edge.label)


def svg() -> str:
    """The states of a node's power."""
    return _svg(POWER)


def pool_svg() -> str:
    """The states of a node in a pool."""
    return _svg(POOL)


def halt_svg() -> str:
    """The phases of a halt."""
    return _svg(HALT)


def _svg(diagram: Diagram) -> str:
    edges, anywhere = _edges(diagram)
    width, height = diagram.width, diagram.height
    pairs = {(edge.source, edge.target) for edge in edges}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{diagram.title}</title>",
        (
            "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8' markerHeight='8' "
            "orient='auto'><path class='tip' d='M0 0 L10 5 L0 10 z'/></marker></defs>"
        ),
        (
            "<style>text{font:14px 'DejaVu Sans',Helvetica,Arial,sans-serif;text-anchor:middle;fill:#222}"
            ".state{fill:#e8eef7;stroke:#345;stroke-width:1.5}.name{font-weight:bold}"
            ".frame{fill:none;stroke:#8a97a8;stroke-dasharray:6 4}.title{text-anchor:start;fill:#5a6675}"
            "path{fill:none;stroke:#345;stroke-width:1.5;marker-end:url(#tip)}"
            ".tip{fill:#345;stroke:none;marker-end:none}"
            ".label{stroke:#fff;stroke-width:9px;paint-order:stroke;stroke-linejoin:round}</style>"
        ),
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
    ]
    for frame in diagram.frames:
        lines += [
            (
                f'<rect class="frame" x="{frame.x}" y="{frame.y}" width="{frame.width}" '
                f'height="{frame.height}" rx="12"/>'
            ),
            f'<text class="title" x="{frame.x + 12}" y="{frame.y + frame.height - 12}">{frame.title}</text>',
        ]
    for state, at in diagram.places.items():
        lines += [
            (
                f'<rect class="state" x="{at.x - BOX_WIDTH / 2:.0f}" y="{at.y - BOX_HEIGHT / 2:.0f}" '
                f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10"/>'
            ),
            f'<text class="name" x="{at.x}" y="{at.y + 5}">{state.name.replace("_", " ")}</text>',
        ]
    for edge in edges:
        lines += _edge(diagram.places, edge, both_ways=(edge.target, edge.source) in pairs)
    words = ", ".join(f"{trigger!s} → {target.name}" for trigger, target in anywhere)
    if words:
        lines.append(f'<text x="{width / 2:.0f}" y="{height - 70}">from every state: {escape(words)}</text>')
    lines += [
        (
            f'<text x="{width / 2:.0f}" y="{height - 40}">an arrow from a dashed box holds for every state '
            "in it; what leads back to the same state is not drawn</text>"
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


# The table ------------------------------------------------------------------------------------------


def markdown() -> str:
    """Makes the table of a node's power: a row for each trigger, a column for each state.

    An empty cell raises `TransitionError`.
    """
    return _markdown(POWER)


def pool_markdown() -> str:
    """The same of the states of a node in a pool."""
    return _markdown(POOL)


def halt_markdown() -> str:
    """The same of the phases of a halt."""
    return _markdown(HALT)


def _markdown(diagram: Diagram) -> str:
    table = diagram.table
    lines = [
        "| trigger | " + " | ".join(f"`{state!s}`" for state in table) + " |",
        "| --- |" + " --- |" * len(table),
    ]
    triggers = type(next(iter(next(iter(table.values())))))
    for trigger in triggers:
        row = [table[state].get(trigger) for state in table]
        cells = ["" if target is None else f"`{target!s}`" for target in row]
        lines.append(f"| {trigger!s} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
