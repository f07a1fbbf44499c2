"""An open board with the rail that its nodes share: what the executor switches."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.errors import BackendError, ClusterHatError, LevelsNotHeldError
from rpi_clusterhat.hardware import going_ahead
from rpi_clusterhat.hardware.backend import (
    SupportsDirections,
    SupportsRecord,
    SupportsSetUp,
    SupportsSimulation,
)
from rpi_clusterhat.hardware.boards import DEVICE_TREE, Board, node_names
from rpi_clusterhat.hardware.open_board import open_board

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import TypeVar

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.backend import Backend
    from rpi_clusterhat.hardware.boards import Role
    from rpi_clusterhat.hardware.going_ahead import Missed
    from rpi_clusterhat.settings import Settings

    from .rail import Rail

    _T = TypeVar("_T")

__all__ = ["Bank", "open_banks"]


class Bank:
    """A board, open: its backend, its rail and the names of its nodes."""

    __slots__ = (
        "__weakref__",
        "_directions",
        "_rail",
        "_record",
        "altered",
        "backend",
        "backend_name",
        "board",
        "closed",
        "expander",
        "lock",
        "names",
        "was_set_up",
        "written",
    )

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
        self._directions = backend if isinstance(backend, SupportsDirections) else None
        self._record = backend if isinstance(backend, SupportsRecord) else None
        self.expander = backend if board.expander and isinstance(backend, SupportsSetUp) else None
        """The backend, where its bank may lose the set-up that it needs: with its power."""
        self.altered: dict[str, bool] = {}
        """The nodes and functions that something else has changed, and whether they are on."""
        self.backend_name = backend_name or type(backend).__name__
        self._rail = rail
        self.names = list(names)
        self.was_set_up: bool | None = None
        self.written: dict[int, bool] = {}
        """The levels that were written here last, by offset."""
        self.closed = False
        self.lock: threading.RLock
        """Held by whoever accesses the backend or what is known of the board's nodes."""
        self._renew()
        after_fork(self, Bank._renew)

    def _renew(self) -> None:
        self.lock = threading.RLock()

    @property
    def rail(self) -> Rail:
        """Made with its first use: who only looks at nodes needs none."""
        rail = self._rail
        if callable(rail):
            rail = self._rail = rail()
        return rail

    def read(self) -> Mapping[int, bool]:
        """Levels by offset. Raises `BackendError`, also where the backend lets an `OSError` out."""
        # Nothing is switched, so no lock is worth failing for.
        return self._call(self.backend.read, [])

    def inputs(self) -> Collection[int]:
        """The offsets of lines that nobody drove at the last `read`."""
        return () if self._directions is None else self._directions.inputs

    def look_for_alterations(self, levels: Mapping[int, bool]) -> Mapping[str, bool]:
        """Updates `altered` after a `read`, and returns what is new in it.

        Args:
            levels: What was read.
        """
        before, self.altered = self.altered, {}
        if self._record is not None and (offsets := self._record.altered):
            self.altered = {n: role.is_on(levels) for n, role in self._roles() if role.offset in offsets}
        return {name: on for name, on in self.altered.items() if before.get(name) is not on}

    def _roles(self) -> Iterator[tuple[str, Role]]:
        """The lines of the nodes and functions, by name."""
        yield from zip(self.names, self.board.power, strict=False)
        yield from self.board.functions.items()

    def write(self, levels: Mapping[int, bool], missed: Missed = None) -> None:
        """Makes lines outputs with these levels. Raises as `read` does, and errors of locks.

        ``missed`` has it go ahead without locks that cannot be had; it gets why.
        """
        self._call(partial(self.backend.write, levels), missed)
        self.written.update(levels)

    def set_up(self, levels: Mapping[int, bool], missed: Missed = None) -> None:
        """Sets up a bank that needs it. As `write` otherwise."""
        assert self.expander is not None
        self._call(partial(self.expander.set_up, levels), missed)
        self.written.update(levels)

    def close(self) -> Mapping[int, bool] | None:
        """Gives the lines back, and says what their pins show then; see `Backend.close`."""
        left = self._call(self.backend.close, None)
        self.closed = True
        return left

    def check_off(self, left: Mapping[int, bool]) -> None:
        """Raises `LevelsNotHeldError` where something is on that was switched off before `close`.

        Args:
            left: What `close` said.
        """
        on = [
            name
            for name, role in self._roles()
            if role.offset in left
            and role.is_on(left)
            and self.written.get(role.offset) is role.level(on=False)
        ]
        if on:
            is_, it, line = (
                ("is", "it was", "this line") if len(on) == 1 else ("are", "they were", "these lines")
            )
            raise LevelsNotHeldError(
                f"{', '.join(on)} {is_} on again: {it} switched off, but the backend {self.backend_name} "
                f"cannot hold a line when its program ends, and something pulls {line}: use a backend that "
                "keeps its levels, or a program that goes on, such as 'off --hold'"
            )

    def _call(self, access: Callable[[], _T], missed: Missed) -> _T:
        try:
            return going_ahead.call(access, missed)
        except ClusterHatError:
            raise
        except OSError as error:
            raise BackendError(f"{self.backend_name}: {error}") from error

    def __repr__(self) -> str:
        return f"<Bank {self.board.version} {self.backend_name} {self.names[0]}…{self.names[-1]}>"


class _Rails:
    """The rails of one cluster, each made when it is first needed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._rails: dict[str, Rail] = {}
        self._renew()
        after_fork(self, _Rails._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def get(self, name: str, backend: Backend) -> Rail:
        if isinstance(backend, SupportsSimulation):
            # It is not the controller's, and no stranger is harmed where it is held up.
            path, guarded = backend.rail_lock(name), False
        else:
            from rpi_clusterhat.hardware.lock_record import lock_path

            path, guarded = lock_path(self._settings.lock_dir, f"rail-{name}"), True
        key = f"alone {name}" if path is None else path
        with self._lock:
            if key not in self._rails:
                self._rails[key] = self._make(path, guarded=guarded)
            return self._rails[key]

    def _make(self, path: str | None, *, guarded: bool) -> Rail:
        from rpi_clusterhat.hardware.lock_files import LOCKS_ARE_SHARED
        from rpi_clusterhat.hardware.turnstile import FileTurnstile, LocalTurnstile

        from .rail import Rail

        turnstile = (
            FileTurnstile(path, clock=self._clock, guarded=guarded)
            if path is not None and LOCKS_ARE_SHARED
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
            one, backend, name = open_board(said, settings, clock, shared, device_tree)
            undo.callback(backend.close)
            opened.append((one, backend, name, partial(rails.get, said.rail, backend)))
        names = node_names([one for one, *_ in opened])
        banks = [
            Bank(one, backend, rail, names[i], name) for i, (one, backend, name, rail) in enumerate(opened)
        ]
        undo.pop_all()
    return banks
