"""From settings to open boards: which version, which backend, which rail."""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .backend import Opening, Plugin, load, parse_options
from .boards import DEVICE_TREE, Board, board, detect, node_names
from .errors import BackendUnavailableError, BoardNotFoundError
from .locks import FileTurnstile, LocalTurnstile, lock_path
from .rail import Rail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .backend import Backend
    from .clock import Clock
    from .config import BoardSettings, Settings

__all__ = ["Bank", "open_banks"]


class Bank:
    """A board, open: its backend, its rail and the names of its nodes."""

    __slots__ = ("backend", "backend_name", "board", "names", "rail", "was_set_up")

    def __init__(
        self,
        board: Board,
        backend: Backend,
        rail: Rail,
        names: Sequence[str],
        backend_name: str = "",
    ) -> None:
        self.board = board
        self.backend = backend
        self.backend_name = backend_name or type(backend).__name__
        self.rail = rail
        self.names = list(names)
        self.was_set_up: bool | None = None

    def __repr__(self) -> str:
        return f"<Bank {self.board.version} {self.backend_name} {self.names[0]}…{self.names[-1]}>"


def open_banks(settings: Settings, clock: Clock, *, device_tree: str = DEVICE_TREE) -> list[Bank]:
    """Opens every board of the settings, or none: what was open is closed again when a later one fails."""
    shared: dict[str, Any] = {}
    rails: dict[str, Rail] = {}
    with ExitStack() as undo:
        opened: list[tuple[Board, Backend, str, Rail]] = []
        for said in settings.boards:
            one, backend, name = _open_board(said, settings, clock, shared, device_tree)
            undo.callback(backend.close)
            opened.append((one, backend, name, _rail(rails, said.rail, backend, settings, clock)))
        names = node_names([one for one, *_ in opened])
        banks = [
            Bank(one, backend, rail, names[i], name) for i, (one, backend, name, rail) in enumerate(opened)
        ]
        undo.pop_all()
    return banks


def _open_board(
    said: BoardSettings, settings: Settings, clock: Clock, shared: dict[str, Any], device_tree: str
) -> tuple[Board, Backend, str]:
    plugin = load(said.backend) if said.backend else None
    version = said.version or (plugin.board if plugin else None)
    if version is None:
        version = detect(device_tree)
    one = board(version, **({} if said.nodes is None else {"size": said.nodes}), where=said.where)

    def open_with(name: str, plugin: Plugin) -> Backend:
        options = parse_options(name, plugin, said.options, said.options_where)
        return plugin.open(Opening(one.lines, options, clock, settings.lock_dir, shared, one.expander))

    if said.backend and plugin:
        return one, open_with(said.backend, plugin), said.backend
    return one, *_first_usable(one, open_with)


def _first_usable(one: Board, open_with: Any) -> tuple[Backend, str]:
    """The first backend that can be used here and keeps its levels, else the first that can be used."""
    reasons: list[str] = []
    opened: list[tuple[Backend, str]] = []
    best: tuple[Backend, str] | None = None
    first_error: BackendUnavailableError | None = None
    try:
        for name in one.backends:
            try:
                opened.append((open_with(name, load(name)), name))
            except BackendUnavailableError as error:
                first_error = first_error or error
                reasons.append(f"{name}: {error}")
            else:
                if opened[-1][0].holds_levels:
                    best = opened[-1]
                    return best
        if opened:
            best = opened[0]
            return best
    finally:
        for other in opened:
            if other is not best:
                other[0].close()
    assert first_error is not None
    if len(reasons) == 1:
        raise first_error
    raise type(first_error)(
        f"no backend can be used for a HAT {one.version} here: {'; '.join(reasons)}"
    ) from first_error


def _rail(rails: dict[str, Rail], name: str, backend: Backend, settings: Settings, clock: Clock) -> Rail:
    # A simulated rail is not the controller's: it says whose it is, or None for nobody else's.
    private = getattr(backend, "private_rail", "")
    if private is None or not hasattr(fcntl, "F_OFD_SETLK"):
        key = f"private {name}"
        if key not in rails:
            rails[key] = Rail(LocalTurnstile(), clock, settings.spacing)
        return rails[key]
    key = f"{name}.{private}" if private else name
    if key not in rails:
        turnstile = FileTurnstile(lock_path(settings.lock_dir, f"rail-{key}"), clock=clock)
        rails[key] = Rail(turnstile, clock, settings.spacing)
    return rails[key]


def detected(device_tree: str = DEVICE_TREE) -> str | None:
    """The version of the HAT that is fitted, or None where none is found."""
    try:
        return detect(device_tree)
    except BoardNotFoundError:
        return None
