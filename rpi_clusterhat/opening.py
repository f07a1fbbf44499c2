"""From settings to open boards: which version, which backend, which rail."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from .backend import Opening, Plugin, load, parse_options
from .boards import DEVICE_TREE, Board, board, detect, node_names
from .errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .backend import Backend
    from .clock import Clock
    from .config import BoardSettings, Settings
    from .rail import Rail

__all__ = ["Bank", "open_banks"]


class Bank:
    """A board, open: its backend, its rail and the names of its nodes."""

    __slots__ = ("_rail", "backend", "backend_name", "board", "names", "was_set_up")

    def __init__(
        self,
        board: Board,
        backend: Backend,
        rail: Rail | Callable[[], Rail],
        names: Sequence[str],
        backend_name: str = "",
    ) -> None:
        self.board = board
        self.backend = backend
        self.backend_name = backend_name or type(backend).__name__
        self._rail = rail
        self.names = list(names)
        self.was_set_up: bool | None = None

    @property
    def rail(self) -> Rail:
        """Made with its first use: who only looks at nodes needs none."""
        rail = self._rail
        if callable(rail):
            rail = self._rail = rail()
        return rail

    def __repr__(self) -> str:
        return f"<Bank {self.board.version} {self.backend_name} {self.names[0]}…{self.names[-1]}>"


class _Rails:
    """The rails of one cluster, each made when it is first needed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._rails: dict[str, Rail] = {}
        self._lock = threading.Lock()

    def get(self, name: str, backend: Backend) -> Rail:
        # A simulated rail is not the controller's: it says whose it is, or None for nobody else's.
        private: str | None = getattr(backend, "private_rail", "")
        key = f"{name}.{private}" if private else name if private == "" else f"private {name}"
        with self._lock:
            if key not in self._rails:
                self._rails[key] = self._make(key, shared=private is not None)
            return self._rails[key]

    def _make(self, key: str, *, shared: bool) -> Rail:
        from .locks import LOCKS_ARE_SHARED, FileTurnstile, LocalTurnstile, lock_path
        from .rail import Rail

        turnstile = (
            FileTurnstile(lock_path(self._settings.lock_dir, f"rail-{key}"), clock=self._clock)
            if shared and LOCKS_ARE_SHARED
            else LocalTurnstile()
        )
        return Rail(turnstile, self._clock, self._settings.spacing)


def open_banks(settings: Settings, clock: Clock, *, device_tree: str = DEVICE_TREE) -> list[Bank]:
    """Opens every board of the settings, or none: what was open is closed again when a later one fails."""
    shared: dict[str, Any] = {}
    rails = _Rails(settings, clock)
    with ExitStack() as undo:
        opened: list[tuple[Board, Backend, str, Callable[[], Rail]]] = []
        for said in settings.boards:
            one, backend, name = _open_board(said, settings, clock, shared, device_tree)
            undo.callback(backend.close)
            opened.append((one, backend, name, partial(rails.get, said.rail, backend)))
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
    if said.backend and plugin:  # what is wrong with them is said before a board is looked for
        parse_options(said.backend, plugin, said.options, said.options_where)
    version = said.version or (plugin.board if plugin else None)
    if version is None:
        version = detect(device_tree)
    one = board(version, **({} if said.nodes is None else {"size": said.nodes}), where=said.where)

    def open_with(name: str, plugin: Plugin) -> Backend:
        options = parse_options(name, plugin, said.options, said.options_where)
        return plugin.open(Opening(one.lines, options, clock, settings.lock_dir, shared, one.expander))

    if said.backend and plugin:
        return one, open_with(said.backend, plugin), said.backend
    return one, *_first_usable(one, said.options, open_with)


def _first_usable(
    one: Board, options: Mapping[str, object], open_with: Callable[[str, Plugin], Backend]
) -> tuple[Backend, str]:
    """The first backend that can be used here and keeps its levels, else the first that can be used. An
    option that was given rules out those that have no such option."""
    reasons: list[str] = []
    opened: list[tuple[Backend, str]] = []
    best: tuple[Backend, str] | None = None
    first_error: BackendUnavailableError | None = None
    misfit: tuple[str, Plugin] | None = None
    try:
        for name in one.backends:
            plugin = load(name)
            if not options.keys() <= {option.name for option in plugin.options}:
                misfit = misfit or (name, plugin)
                continue
            try:
                opened.append((open_with(name, plugin), name))
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
    if first_error is None:
        assert misfit is not None
        return open_with(*misfit), misfit[0]  # which says that it has no such option
    if len(reasons) == 1:
        raise first_error
    raise type(first_error)(
        f"no backend can be used for a HAT {one.version} here: {'; '.join(reasons)}"
    ) from first_error
