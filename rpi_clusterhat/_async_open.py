"""What `AsyncCluster.open` returns."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .waiting import Call, drive_async

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import TracebackType
    from typing import Any

    from .power.bank import Bank
    from .waiting import Steps

__all__ = ["AsyncOpener"]


class _Closable(Protocol):
    @property
    def banks(self) -> Sequence[Bank]: ...
    async def close(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


C = TypeVar("C", bound=_Closable)


class AsyncOpener(Generic[C]):
    """A cluster that is about to be opened, by ``await`` or by ``async with``. Belongs to one event loop."""

    __slots__ = ("_cluster", "_open")

    def __init__(self, open_: Callable[[], C]) -> None:
        self._open = open_
        self._cluster: C | None = None

    def __repr__(self) -> str:
        return "<AsyncOpener: await it, or use it in async with>"

    def __await__(self) -> Generator[Any, Any, C]:
        return drive_async(self._steps()).__await__()

    async def __aenter__(self) -> C:
        self._cluster = await self
        return self._cluster

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._cluster is not None
        await self._cluster.__aexit__(exc_type, exc, traceback)

    def _steps(self) -> Steps[C]:
        opened: list[C] = []
        try:
            yield Call(lambda: opened.append(self._open()), uninterruptible=True)
        except BaseException:
            if opened:  # open by now, and nobody's: the task was cancelled meanwhile
                yield Call(partial(_close, opened[0].banks), uninterruptible=True)
            raise
        return opened[0]


def _close(banks: Sequence[Bank]) -> None:
    for bank in banks:
        try:
            bank.backend.close()
        except Exception:
            # The others are open, and the cancellation is what the task has to hear of.
            logging.getLogger("rpi_clusterhat").exception("%r cannot be closed", bank)
