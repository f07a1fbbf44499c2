"""What happens to the nodes of a pool, and what to switch then: decisions, without I/O or waiting.

What fails is in `failures.py`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import NodeNameError
from rpi_clusterhat.events import BootFinished, BootStarted, PoweredOff

from .actions import Boot, Check, CutPower, WatchIdle
from .idle import Idler
from .pooled_node import NEVER, PooledNode
from .states import PoolState, PoolTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.events import PoolEvent

    from .actions import Action
    from .settings import PoolSettings

__all__ = ["BOOTS", "Lifecycle"]

BOOTS = ("lease", "hand", "retry")
"""The reasons in `rpi_clusterhat.events.BootStarted` for which a node is switched on, not only checked."""

_BOOTS_REMEMBERED = 8
_log = logging.getLogger("rpi_clusterhat")


class Lifecycle:
    """The nodes of a pool and their states.

    Each method takes note of something that happened. It changes nothing if that does not concern a node in
    its state. It belongs to one thread or event loop at a time.
    """

    def __init__(self, names: Sequence[str], settings: PoolSettings, now: Callable[[], float]) -> None:
        self.settings = settings
        self.nodes = {name: PooledNode(name) for name in names}
        self.actions: deque[Action] = deque()
        """What has to be done. To be taken from the left, after each call."""
        self.closed = False
        """Whether no node is switched on any more."""
        self.boots: tuple[float, ...] = ()
        """Seconds from asking for a boot to its end, of the last few."""
        self._idler = Idler(settings.idle_timeout, settings.min_on_time)
        self._now = now
        self._subscribers: list[Callable[[PoolEvent], object]] = []

    def _serve(self, node: PooledNode) -> None:
        """The node came to a state in which it may be of use to those who wait."""

    def _cut_ended(self, node: PooledNode) -> None:
        """The power of a node that failed has been cut, or this has failed."""

    def check_name(self, name: Any) -> str:
        """Returns the name. Raises `NodeNameError` where no node has it."""
        if not isinstance(name, str) or name not in self.nodes:
            what = "node of this pool" if isinstance(name, str) else "name of a node of this pool"
            raise NodeNameError(f"{name!r} is no {what}: it has {', '.join(self.nodes)}")
        return name

    # Boots ----------------------------------------------------------------------------------------------

    def _begin(self, node: PooledNode, action: Boot | Check, reason: str) -> None:
        node.asked_at = self._now()
        node.asked_for = reason
        self.actions.append(action)
        self._tell(BootStarted(node.name, reason))

    def _boot(self, node: PooledNode, reason: str) -> None:
        node.move(PoolTrigger.BOOT)
        self._begin(node, Boot(node.name), reason)

    def _check(self, node: PooledNode) -> None:
        node.move(PoolTrigger.CHECK)
        self._begin(node, Check(node.name), "check")

    def powered(self, name: str) -> None:
        """The boot has come so far that the node has power."""
        node = self.nodes[name]
        if node.state is PoolState.QUEUED:
            node.move(PoolTrigger.POWER)
            if node.powered_since is None:
                node.powered_since = self._now()
                node.boots += 1

    def ready(self, name: str) -> None:
        """The node's probe answered."""
        node = self.nodes[name]
        if node.state not in (PoolState.BOOTING, PoolState.CHECKING):
            return
        now = self._now()
        node.move(PoolTrigger.ANSWER)
        node.last_active = max(node.last_active, now)
        node.failure, node.retry_at = None, None
        node.failures = node.failed_boots = 0
        asked, node.asked_at = node.asked_at, None
        if asked is not None and node.powered_since is not None:
            if node.asked_for in BOOTS:
                node.last_boot = now - node.powered_since
                self.remember_boots([now - asked])
            self._tell(BootFinished(name, now - asked, node.asked_for))
        self._serve(node)
        self._watch_idle(node)

    def health_check(self, name: str) -> None:
        """A lease met a failure: the node gets no new ones until it has been checked."""
        node = self.nodes[name]
        if node.state is PoolState.READY:
            self._check(node)

    # Going off ------------------------------------------------------------------------------------------

    def due_at(self, name: str) -> float:
        """When the node may go off if nothing happens until then; ``inf`` where it may not."""
        return self._due_at(self.nodes[self.check_name(name)])

    def _due_at(self, node: PooledNode) -> float:
        if node.state is not PoolState.READY:
            return float("inf")
        return max(self._idler.due_at(node), node.power_off_retry_at)

    def _watch_idle(self, node: PooledNode) -> None:
        if not node.is_watched and self._due_at(node) < float("inf"):
            node.is_watched = True
            self.actions.append(WatchIdle(node.name))

    def check_idle(self, name: str) -> bool:
        """Has a node go off if it has been idle for long enough.

        From then on it gets no lease until its power is off.

        Returns:
            Whether to call this again at the new `due_at`.
        """
        node = self.nodes[name]
        due_at = self._due_at(node)
        if self._now() >= due_at:
            self._stop(node, "idle")
        node.is_watched = node.state is PoolState.READY and due_at < float("inf")
        return node.is_watched

    def power_off(self, name: str) -> bool:
        """Off by hand; False where it is in use or not to be switched now."""
        node = self.nodes[self.check_name(name)]
        if node.state is not PoolState.READY or node.in_flight:
            return False
        self._stop(node, "hand")
        return True

    def _stop(self, node: PooledNode, reason: str) -> None:
        node.move(PoolTrigger.STOP)
        self.actions.append(CutPower(node.name, reason))

    def powered_off(self, name: str, reason: str) -> None:
        """This pool has cut the node's power. Who waits for it is served by its next boot."""
        node = self.nodes[name]
        self._count_off(node, reason)
        node.move(PoolTrigger.CUT)
        if node.state is PoolState.OFF:
            node.asked_at = None
            self._serve(node)
        elif node.state is PoolState.FAILED:
            self._cut_ended(node)

    def called_off(self, name: str) -> None:
        """Takes note that a node stays on, since a lease needs it and it had not been asked to halt."""
        node = self.nodes[name]
        if node.state is PoolState.STOPPING:
            node.last_active = self._now()
            self._check(node)
        elif node.state is PoolState.FAILED:
            self._cut_ended(node)

    def active(self, name: str) -> None:
        """Something went to the node or came from it."""
        self.nodes[name].last_active = self._now()

    # What the cluster says of others --------------------------------------------------------------------

    def found_on(self, name: str) -> None:
        """The node has power, and this pool did not give it. One that was off is taken over."""
        node = self.nodes[name]
        was_off = node.state is PoolState.OFF
        if node.powered_since is None:
            node.powered_since = self._now()
        node.move(PoolTrigger.FOUND_ON)
        if was_off:
            node.last_active = self._now()
            self._begin(node, Check(name), "outside")

    def lost(self, name: str) -> None:
        """Takes note that a node has lost its power, which this pool did not cut.

        Leases that wait for the node are served after its next boot.
        """
        node = self.nodes[name]
        self._count_off(node, "outside")
        was = node.state
        node.move(PoolTrigger.LOST)
        if node.state is PoolState.OFF and was is not PoolState.OFF:
            node.asked_at = None
            self._serve(node)

    def _count_off(self, node: PooledNode, reason: str) -> None:
        node.power_off_failures, node.power_off_retry_at = 0, NEVER
        if node.powered_since is not None:
            seconds = self._now() - node.powered_since
            node.seconds_on += seconds
            node.powered_since = None
            self._tell(PoweredOff(node.name, reason, seconds))

    def remember_boots(self, seconds: Sequence[float]) -> None:
        """Takes note how long boots took, the latest last."""
        self.boots = (*self.boots, *seconds)[-_BOOTS_REMEMBERED:]

    # Telling --------------------------------------------------------------------------------------------

    @property
    def boot_time(self) -> float:
        """Seconds that a boot takes, by those seen so far."""
        return max(self.boots, default=self.settings.boot_estimate)

    def estimate(self, node: PooledNode | None = None) -> float:
        """Seconds until the node is ready, by the boots seen so far; without one, that which is next."""
        if node is None:
            asked = [n.asked_at for n in self.nodes.values() if n.asked_at is not None]
            since = min(asked, default=None)
        else:
            since = node.asked_at
        return self.boot_time if since is None else max(0.0, self.boot_time - (self._now() - since))

    def subscribe(self, callback: Callable[[PoolEvent], object]) -> Callable[[], None]:
        """Has each event told to a function. Returns one that ends this."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def _tell(self, event: PoolEvent) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - a subscriber's mistake must not leave a lease without its answer
                _log.exception("a subscriber failed on %s", event)
