"""Whether a request that failed at a node is sent again, and when. Pure: nothing is sent or awaited here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .forward import BadAnswerError

if TYPE_CHECKING:
    from .forward import Forward, NodeError
    from .node_connections import NodeConnections

__all__ = ["Retry"]

_ATTEMPTS = 3

_PAUSE = 0.05
"""Seconds between two attempts with one node; twice as many each time."""

_PAUSE_MOST = 0.5


class Retry:
    """Whether a request is sent again, and when."""

    __slots__ = ("_attempts", "_connections", "_pauses", "until")

    def __init__(self, connections: NodeConnections, until: float) -> None:
        self.until = until
        """When the request's time is over."""
        self._connections = connections
        self._attempts = 1
        self._pauses = 0

    def is_still_booting(self, node: str, error: NodeError) -> bool:
        """Whether a node that said nothing has not answered anybody since it got its power.

        Its port is open before its service can serve: what was sent to it was not begun to be served.
        """
        return error.silent and not error.stale and node not in self._connections.answered

    def pause(self, forward: Forward, error: NodeError, *, boots: bool, elsewhere: bool) -> float | None:
        """Seconds until the request is sent again; None where it must not be.

        What still boots is asked for as long as the request's time lasts.
        """
        may_repeat = not error.sent or forward.repeatable or (boots and forward.kept)
        if isinstance(error, BadAnswerError) or not may_repeat:
            return None
        if not boots:
            if self._attempts >= _ATTEMPTS:
                return None
            self._attempts += 1
        if error.stale or elsewhere:
            return 0.0
        self._pauses += 1
        return min(_PAUSE * 2.0 ** min(self._pauses - 1, 10), _PAUSE_MOST)
