"""What a pool does with nodes that fail: back-off, another boot, quarantine. No I/O or waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BootError, BootTimeoutError
from rpi_clusterhat.events import BootFailed, PowerOffFailed, Quarantined

from .actions import BackOff
from .lifecycle import Lifecycle
from .states import PoolState, PoolTrigger

if TYPE_CHECKING:
    from .pooled_node import PooledNode

__all__ = ["Failures"]

_SHORT_BACK_OFF = 1.0
"""Seconds, for what may have passed when it is tried again: a bus that was busy."""
_BACK_OFF_MOST = 16.0
"""Times ``retry_after_failure``: the longest that a node that fails again and again backs off."""


class Failures(Lifecycle):
    """The nodes of a pool, and how they come back after a failure. See `Lifecycle`."""

    def _give_up(self, node: PooledNode, error: BootError) -> None:
        """The node failed: those who wait for it go elsewhere, or get the error."""

    # Boots and checks -----------------------------------------------------------------------------------

    def failed(
        self,
        name: str,
        reason: str,
        *,
        timed_out: bool = False,
        may_pass: bool = False,
        last_lines: tuple[str, ...] = (),
    ) -> None:
        """Takes note that a node could not be switched on, or was not ready in time.

        All leases that waited for it fail once, or go on to another node. The node backs off; one that booted
        and was not ready in time is then booted again, or is quarantined after so many boots.

        Args:
            name: The node.
            reason: Why it failed.
            timed_out: Whether it was not ready in time.
            may_pass: Whether the trouble may pass, so that the back-off is short.
            last_lines: What was last read on its console.
        """
        node = self.nodes[name]
        if not node.is_starting:
            return
        node.is_retried = timed_out and node.state is PoolState.BOOTING
        node.failed_boots += node.is_retried
        node.is_quarantined = node.is_retried and node.failed_boots >= self.settings.boot_attempts
        if node.is_quarantined:
            seconds = self.settings.quarantine
        else:
            seconds = self._back_off(node.failures, may_pass=may_pass)
        node.move(PoolTrigger.FAIL)
        node.asked_at = None
        node.failure = reason
        node.failures += 1
        node.retry_at = self._now() + seconds
        self._hold_off(node, seconds)
        self._tell(BootFailed(name, reason, seconds))
        if node.is_quarantined:
            self._tell(Quarantined(name, reason, seconds, last_lines))
        kind = BootTimeoutError if timed_out else BootError
        self._give_up(node, kind(f"{name}: {reason}", seconds if seconds < float("inf") else None))

    def _hold_off(self, node: PooledNode, seconds: float) -> None:
        node.is_being_cut = not node.leases
        self.actions.append(BackOff(node.name, seconds, node.is_being_cut))

    def _unused(self, node: PooledNode) -> None:
        """Its last lease is released: a quarantined node that it kept powered goes off now."""
        if node.is_quarantined and node.powered_since is not None:
            self._hold_off(node, self._left(node))

    def _left(self, node: PooledNode) -> float:
        """Seconds until its back-off or quarantine ends."""
        return 0.0 if node.retry_at is None else max(0.0, node.retry_at - self._now())

    def _back_off(self, failures: int, *, may_pass: bool) -> float:
        base = self.settings.retry_after_failure
        if may_pass:
            base = min(base, _SHORT_BACK_OFF)
        return min(2.0 ** min(failures, 10), _BACK_OFF_MOST) * base

    def back_off_over(self, name: str) -> None:
        """A node that failed may be tried again; the power of a quarantined one may be cut again."""
        node = self.nodes[name]
        if node.state is not PoolState.FAILED:
            return
        if node.is_quarantined:
            if left := self._left(node):
                self._hold_off(node, left)
                return
            node.failed_boots = self.settings.boot_attempts - 1
        self._try_again(node, "retry" if node.is_retried else "")

    def _try_again(self, node: PooledNode, boot: str) -> None:
        """The node has failed and may be used again. Where it has no power, it is booted for this reason."""
        node.retry_at, node.let_out_for = None, ""
        node.is_quarantined = node.is_being_cut = node.is_retried = False
        if node.powered_since is not None or node.power_off_failures:
            self._check(node)
        else:
            node.move(PoolTrigger.RETRY)
            if boot and not self.closed:
                self._boot(node, boot)
        self._serve(node)

    # By hand --------------------------------------------------------------------------------------------

    def wake(self, name: str) -> bool:
        """Asks for a boot by hand; False where the node has power, or will have it, or failed lately.

        One that is quarantined is let out.
        """
        node = self.nodes[self.check_name(name)]
        if self.closed:
            return False
        if node.is_quarantined:
            self._let_out(node, "hand")
        elif node.state is PoolState.OFF:
            self._boot(node, "hand")
        else:
            return False
        return True

    def reinstate(self, name: str) -> bool:
        """Lets a node out of quarantine, as if it had never failed; False where it is in none."""
        node = self.nodes[self.check_name(name)]
        if self.closed or not node.is_quarantined:
            return False
        self._let_out(node, "rest")
        return True

    def _let_out(self, node: PooledNode, purpose: str) -> None:
        if node.is_being_cut:  # what else it is asked for has to wait
            node.let_out_for = purpose
            return
        node.failures = node.failed_boots = 0
        self._try_again(node, "hand" if purpose == "hand" else "")

    # Cutting power --------------------------------------------------------------------------------------

    def _cut_ended(self, node: PooledNode) -> None:
        """Its power has been cut after a failure, or this has failed."""
        node.is_being_cut = False
        if node.let_out_for:
            self._let_out(node, node.let_out_for)

    def power_off_failed(self, name: str, reason: str, *, may_pass: bool = False) -> None:
        """Takes note that a node's power could not be cut, so that it may still have power.

        A node that was ready is checked, and then serves the leases that wait for it. It is switched off when
        it is idle and a back-off is over.
        """
        node = self.nodes[name]
        if node.state is PoolState.STOPPING:
            seconds = self._back_off(node.power_off_failures, may_pass=may_pass)
            node.power_off_failures += 1
            node.power_off_retry_at = self._now() + seconds
            self._tell(PowerOffFailed(name, reason, seconds))
            self._check(node)
        elif node.state is PoolState.FAILED:
            seconds = self._left(node)
            if node.is_quarantined and not node.let_out_for:  # its power is not left on for so long
                seconds = min(seconds, self._back_off(node.power_off_failures, may_pass=may_pass))
                self.actions.append(BackOff(name, seconds, False))
            node.power_off_failures += 1
            self._tell(PowerOffFailed(name, reason, seconds))
            self._cut_ended(node)
