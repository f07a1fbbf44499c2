"""The ``sim`` backend: a simulated world instead of a board, used only when it is asked for.

The world has rails that give way, nodes that boot, halt and fail, cards that a cut corrupts while they are
written, boards that lose power.
`rpi_clusterhat.testing.simulated` is how a test looks at it and breaks it, `rpi_clusterhat_sim.world.World`
is the world itself. With the option ``serve``, nodes that are up answer: see `rpi_clusterhat_sim.serving`.

What it does not simulate: voltages and what a drooping one does short of a brown-out; what a node's load
adds to its current; USB, networks and what runs on a node beside that service and its console's few
commands; what is on a node's
card (it is clean, being written, or corrupt), and a halt that stops one thing after another; the time that a
bus transfer takes, and the registers behind it; the controller's own supply, throttling and reboots (a reset
that would cut the nodes is `SimulatedBoard.lose_power`); a line's glitches. All figures that it starts from
are chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Option, Plugin, parse_bool, parse_int

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.hardware.backend import Backend, OpenRequest

    from .faults import Fault

__all__ = ["plugin"]


def _open(request: OpenRequest) -> Backend:
    from .open_backend import open_backend

    return open_backend(request)


def _check(options: Mapping[str, Any]) -> None:
    from .open_backend import check

    check(options)


def _faults(text: str) -> tuple[Fault, ...]:
    from .faults import parse_faults

    return parse_faults(text)


def _number(low: float, high: float, *, above: bool = False) -> Callable[[str], float]:
    allowed = f"a number {'above' if above else 'from'} {low:g} {'and up ' if above else ''}to {high:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high or (above and value == low):
            raise ValueError(allowed)
        return value

    return parse


def _name(text: str) -> str:
    if not text or not all(c.isalnum() or c in "-_." for c in text):
        raise ValueError("a name of letters, digits, '-', '_' and '.'")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("the path of a file")
    return text


def _nodes(text: str) -> str:
    if text not in ("simulated", "rack"):
        raise ValueError("simulated or rack")
    return text


def _service(text: str) -> str:
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ValueError("module:name or file.py:name")
    return text


plugin = Plugin(
    summary="a simulated world: no hardware is needed or touched",
    options=(
        Option(
            "state",
            _path,
            None,
            "file in which processes share the world; without it, it ends with the program",
        ),
        Option(
            "bank",
            _name,
            None,
            "which board of the world this is; without it 0, 1, … in the order of the boards",
        ),
        Option("rail", _name, None, "the supply that feeds the board's nodes [main]"),
        Option(
            "capacity",
            _number(0, 1e6, above=True),
            None,
            "amperes that the rail gives before it browns out [5.8]",
        ),
        Option("inrush", _number(0, 1e4), None, "amperes that a node draws when it gets power [3.0]"),
        Option("inrush_time", _number(0, 1e6), None, "seconds that it draws them [0.5]"),
        Option("boot", _number(0, 1e4), None, "amperes that a node draws while it boots [0.2]"),
        Option("idle", _number(0, 1e4), None, "amperes that a node draws when it has booted [0.13]"),
        Option("boot_time", _number(0, 1e6), None, "seconds from power to a node that is up [20]"),
        Option("halted", _number(0, 1e4), None, "amperes that a node draws when it has halted [0.03]"),
        Option(
            "halt_time", _number(0, 1e6), None, "seconds from the request to halt to a node that is down [2]"
        ),
        Option("writes", parse_bool, None, "yes: nodes that are up write to their cards without end [no]"),
        Option(
            "corrupt_boots",
            parse_bool,
            None,
            "no: a node whose card is corrupt does not boot until the card is repaired [yes]",
        ),
        Option("ambient", _number(-100, 200), None, "degrees Celsius around the boards [22]"),
        Option("set_up", parse_bool, True, "no: a new board is as it comes out of a power loss"),
        Option("pos", parse_bool, False, "on: nodes of a board that nobody has set up have power"),
        Option("holds", parse_bool, True, "no: lines drop back when the program that set them ends"),
        Option(
            "fault", _faults, (), "what is to fail: p2:no-boot,p3:slow=3,p4:stuck-low,bus:error@5 and more"
        ),
        Option(
            "serve",
            parse_bool,
            None,
            "yes: nodes that are up answer HTTP on addresses of their own [no; yes with service]",
        ),
        Option(
            "service",
            _service,
            None,
            "what nodes serve instead of an echo: module:name or file.py:name of a Python class",
        ),
        Option(
            "nodes",
            _nodes,
            "simulated",
            "rack: nodes are computers, which 'make rack' builds",
        ),
        Option("rack", _path, None, "the folder of what was built [where 'make rack' leaves a link]"),
        Option(
            "history", parse_int(0, 10**9), None, "how many records are kept [10000; in a state file 200]"
        ),
    ),
    open=_open,
    check=_check,
    board="2.3",
)
