"""Who gets which node, and what has to be switched for it: the decisions of a pool, without I/O or waiting.

Each method takes note of something that happened, answers claims, and leaves in ``actions`` what the driver
has to do. One thread or event loop at a time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import (
    BootError,
    BootTimeoutError,
    NodeNameError,
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolError,
    QueueFullError,
    SettingError,
)
from rpi_clusterhat.events import BootFailed, BootFinished, BootStarted, PoweredOff
from rpi_clusterhat.power.states import State

from .balance import balancer
from .idle import Idler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from rpi_clusterhat.events import PoolEvent

__all__ = ["Arm", "Boot", "Check", "Claim", "Member", "PoolSettings", "Recover", "Rest", "Scheduler"]

NEVER = float("-inf")

_BOOTS_REMEMBERED = 8
_SHORT_BACK_OFF = 1.0
"""Seconds, for what may have passed when it is tried again: a bus that was busy."""
_BACK_OFF_MOST = 16.0
"""Times ``retry_after_failure``: the longest that a node that fails again and again is left alone."""


class PoolSettings(Frozen):
    """How a pool behaves, by the field's names. Times in seconds; the defaults are chosen, not measured."""

    balance: str = "random"
    """``random``, ``roundrobin``, ``leastconn``, ``first`` or ``hash``."""
    maxconn: int = 100
    """Leases on one node at a time. Those beyond wait."""
    queue: int = 1024
    """Claims that may wait, for a boot or for a place. Those beyond are refused at once."""
    queue_timeout: float = 50.0
    """How long a claim waits: below the minute after which many clients and proxies give up."""
    boot_timeout: float = 120.0
    """From power to an answering probe; a node that takes longer has failed."""
    boot_estimate: float = 30.0
    """What a boot is thought to take as long as none has been seen."""
    probe_interval: float = 0.05
    ready_after: float = 0.0
    """For how long the probe must have answered before the node is used."""
    idle_timeout: float = 600.0
    """A node without activity for so long is switched off; ``inf`` for never."""
    min_on_time: float = 60.0
    """A node that was switched on stays on for so long at least."""
    retry_after_failure: float = 30.0
    """For how long a node that failed is left alone; twice as long each time it fails again."""
    redispatch: bool = True
    """Whether a claim whose node fails to boot goes on to another node."""

    def check(self) -> PoolSettings:
        """Raises `SettingError`."""
        for name, low in (("maxconn", 1), ("queue", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= 10**6:
                raise SettingError(f"{name}: {value!r}: must be a whole number from {low} to 1000000")
        for name in ("queue_timeout", "boot_timeout", "probe_interval"):
            validate.seconds(name, getattr(self, name), above=True)
        if self.redispatch not in (True, False):
            raise SettingError(f"redispatch: {self.redispatch!r}: must be True or False")
        for name in ("ready_after", "retry_after_failure", "boot_estimate"):
            validate.seconds(name, getattr(self, name))
        return self


# What the driver has to do ------------------------------------------------------------------------------


class Boot(Frozen):
    """Switch this node on and probe it; then `Scheduler.powered` and `ready`, or `failed`."""

    node: str


class Check(Frozen):
    """See whether this node has power and is ready; then `ready`, `lost` or `failed`."""

    node: str


class Rest(Frozen):
    """Cut this node's power; then `rested`, or `failed`."""

    node: str
    reason: str


class Recover(Frozen):
    """Cut this node's power (then `cut`), wait so long, then `recovered`."""

    node: str
    seconds: float
    cut: bool
    """Whether its power is to be cut: not while a lease still uses it."""


class Arm(Frozen):
    """Call `Scheduler.due`, and as long as that says so again at `Scheduler.due_at`."""

    node: str


Action = Boot | Check | Rest | Recover | Arm


class Claim:
    """Somebody who wants a node."""

    __slots__ = ("error", "exclude", "key", "member", "number", "passive", "wanted")

    def __init__(self, wanted: str | None = None, *, key: str | None = None, passive: bool = False) -> None:
        self.wanted = wanted
        """The node that was asked for by name."""
        self.key = key
        self.passive = passive
        """Takes only a node that is ready, and is no activity."""
        self.exclude: set[str] | None = None
        """The nodes that are not to be tried (again)."""
        self.member: Member | None = None
        """The node that it has, or will have once that is ready; None while it waits for any."""
        self.error: PoolError | None = None
        self.number = -1

    def settled(self) -> None:
        """Called once, when a claim that had to wait has got its node or an error."""


class Member:
    """One node of a pool, and what is known of it. To be read."""

    __slots__ = (
        "armed",
        "asked_at",
        "asked_for",
        "boots",
        "failure",
        "failures",
        "held",
        "last_active",
        "last_boot",
        "last_used",
        "name",
        "powered_since",
        "queue",
        "queued",
        "retry_at",
        "seconds_on",
        "state",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.OFF
        self.held = 0
        """Leases."""
        self.queued: dict[Claim, None] = {}
        """Claims that will be answered when this node is ready or has failed."""
        self.queue: deque[Claim] = deque()
        """Claims that asked for this very node, and wait for a place on it."""
        self.last_used = NEVER
        self.last_active = NEVER
        """Start, end, or any byte either way."""
        self.powered_since: float | None = None
        self.asked_at: float | None = None
        """When the boot that is under way was asked for."""
        self.asked_for = ""
        self.armed = False
        """Whether somebody will look at its idle time."""
        self.boots = 0
        """Power-ups by this pool."""
        self.last_boot: float | None = None
        """Seconds from power to ready, the last time."""
        self.seconds_on = 0.0
        """With power, before ``powered_since``."""
        self.failure: str | None = None
        self.failures = 0
        """In a row."""
        self.retry_at: float | None = None

    def __repr__(self) -> str:
        return f"<Member {self.name} {self.state!s} held={self.held} queued={len(self.queued)}>"

    @property
    def in_flight(self) -> int:
        """Leases, and claims that wait for this node: its load."""
        return self.held + len(self.queued)

    @property
    def on_since(self) -> float:
        """When it got power, as far as that is known."""
        return NEVER if self.powered_since is None else self.powered_since

    @property
    def suspect(self) -> bool:
        """Whether it has power and is being looked at after a failure: others are tried before it."""
        return self.asked_for == "check" and self.state is State.ON

    @property
    def starting(self) -> bool:
        return self.state is State.QUEUED or self.state is State.ON

    def powered_for(self, now: float) -> float:
        """Seconds with power in all."""
        return self.seconds_on + (0.0 if self.powered_since is None else now - self.powered_since)


class Scheduler:
    def __init__(
        self,
        names: Sequence[str],
        settings: PoolSettings,
        now: Callable[[], float],
        *,
        random: Random | None = None,
    ) -> None:
        self.settings = settings.check()
        self.idler = Idler(settings.idle_timeout, settings.min_on_time)
        self.members = {name: Member(name) for name in names}
        self.actions: deque[Action] = deque()
        self.closed = False
        self.waiting = 0
        """Claims that wait."""
        self.boots: deque[float] = deque(maxlen=_BOOTS_REMEMBERED)
        """Seconds from asking for a boot to its end."""
        self._now = now
        self._list = tuple(self.members.values())  # one object: the hash ring is remembered by it
        self._balancer = balancer(settings.balance, random)
        self._queue: deque[Claim] = deque()
        """Claims for any node, while all that may be used are full."""
        self._number = 0
        self._listeners: list[Callable[[PoolEvent], object]] = []

    # Claims ---------------------------------------------------------------------------------------------

    def ask(self, claim: Claim) -> bool:
        """Whether the claim has its node now. Else it waits, and is `Claim.settled` later.

        Raises `PoolError` and `NodeNameError`; then it is over.
        """
        if self.closed:
            raise PoolClosedError("this pool gives no leases any more: it is closed or being drained")
        if claim.wanted is not None and claim.wanted not in self.members:
            raise NodeNameError(f"{claim.wanted!r} is no node of this pool: it has {', '.join(self.members)}")
        self._number += 1
        claim.number = self._number
        claim.error = None
        member = self._choose(claim)
        if member is None or member.state is not State.READY:
            if claim.passive:
                raise NotReadyError("no node is ready, and this request wakes none", self.estimate())
            if self.waiting >= self.settings.queue:
                raise QueueFullError(
                    f"{self.waiting} wait for a node already, and no more may", self.estimate()
                )
        return self._place(claim, member)

    def _usable(self, claim: Claim) -> Callable[[Member], bool]:
        exclude, maxconn = claim.exclude, self.settings.maxconn
        ready = claim.passive

        def usable(member: Member) -> bool:
            state = member.state
            return (
                state is not State.FAILED
                and member.held + len(member.queued) < maxconn
                and not (ready and state is not State.READY)
                and not (exclude and member.name in exclude)
            )

        return usable

    def _choose(self, claim: Claim) -> Member | None:
        """None: it waits for a place. Raises `NoNodeError` where there is nothing to wait for."""
        usable = self._usable(claim)
        if claim.wanted is not None:
            named = self.members[claim.wanted]
            if named.state is State.FAILED or (claim.exclude and named.name in claim.exclude):
                raise self._no_node([named])
            return named if usable(named) else None
        member = self._balancer.choose(self._list, lambda m: not m.suspect and usable(m), claim.key)
        if member is None:
            member = self._balancer.choose(self._list, usable, claim.key)
        if member is None and not claim.passive and not self._may_wait(claim):
            raise self._no_node([m for m in self._list if m.name not in (claim.exclude or ())] or self._list)
        return member

    def _may_wait(self, claim: Claim) -> bool:
        """Whether any node that it may be given has not failed."""
        exclude = claim.exclude or ()
        return any(m.state is not State.FAILED and m.name not in exclude for m in self._list)

    def _no_node(self, members: Sequence[Member]) -> NoNodeError:
        now = self._now()
        waits = [m.retry_at - now for m in members if m.retry_at is not None]
        failed = next((m for m in members if m.failure), None)
        why = f": {failed.name}: {failed.failure}" if failed else ""
        return NoNodeError(f"no node can be used now{why}", max(0.0, min(waits, default=0.0)))

    def _place(self, claim: Claim, member: Member | None) -> bool:
        if member is None:
            self.waiting += 1
            (self._queue if claim.wanted is None else self.members[claim.wanted].queue).append(claim)
            return False
        claim.member = member
        if member.state is State.READY:
            self._hold(claim, member)
            return True
        self.waiting += 1
        member.queued[claim] = None
        if member.state is State.OFF:
            self._boot(member, "lease")
        return False

    def _hold(self, claim: Claim, member: Member) -> None:
        member.held += 1
        if not claim.passive:
            member.last_used = member.last_active = self._now()

    def release(self, claim: Claim) -> None:
        """The claim is over: its lease is given back, or it waits no longer. A boot under way goes on."""
        member, claim.member = claim.member, None
        if claim.number < 0:
            return
        claim.number = -1
        if member is None:
            queue = self._queue if claim.wanted is None else self.members[claim.wanted].queue
            if claim in queue:
                queue.remove(claim)
                self.waiting -= 1
        elif claim in member.queued:
            del member.queued[claim]
            self.waiting -= 1
            self._fill(member)
        else:
            member.held -= 1
            if not claim.passive:
                member.last_active = self._now()
            if self._queue or member.queue:
                self._fill(member)
            self._arm(member)

    def _settle(self, claim: Claim, error: PoolError | None = None) -> None:
        self.waiting -= 1
        if error is not None:
            claim.error, claim.member, claim.number = error, None, -1
        claim.settled()

    def _fill(self, member: Member) -> None:
        """Gives a node's free places to those who wait for one, first come, first served."""
        usable = State.FAILED is not member.state
        while usable and member.in_flight < self.settings.maxconn:
            claim = next((c for c in self._queue if not (c.exclude and member.name in c.exclude)), None)
            own = member.queue[0] if member.queue else None
            if claim is None or (own is not None and own.number < claim.number):
                claim = own
            if claim is None:
                return
            (member.queue if claim is own else self._queue).remove(claim)
            claim.member = member
            if member.state is State.READY:
                self._hold(claim, member)
                self._settle(claim)
            else:
                member.queued[claim] = None
                if member.state is State.OFF:
                    self._boot(member, "lease")

    # What happens to nodes ------------------------------------------------------------------------------

    def _begin(self, member: Member, state: State, action: Boot | Check, reason: str) -> None:
        member.state = state
        member.asked_at = self._now()
        member.asked_for = reason
        self.actions.append(action)
        self._tell(BootStarted(member.name, reason))

    def _boot(self, member: Member, reason: str) -> None:
        self._begin(member, State.QUEUED, Boot(member.name), reason)

    def wake(self, name: str) -> bool:
        """Asks for a boot by hand; False where the node has power, or will have it, or failed lately."""
        member = self.members[name]
        if member.state is not State.OFF or self.closed:
            return False
        self._boot(member, "hand")
        return True

    def found_on(self, name: str) -> None:
        """The node has power, and this pool did not give it. It is taken over."""
        member = self.members[name]
        if member.state is State.OFF:
            member.powered_since = member.last_active = self._now()
            self._begin(member, State.ON, Check(name), "outside")

    def powered(self, name: str) -> None:
        """The boot has come so far that the node has power."""
        member = self.members[name]
        if member.state is State.QUEUED:
            member.state = State.ON
            if member.powered_since is None:
                member.powered_since = self._now()
                member.boots += 1

    def ready(self, name: str) -> None:
        """The node's probe answered."""
        member = self.members[name]
        if member.state is not State.ON:
            return
        now = self._now()
        member.state = State.READY
        member.last_active = max(member.last_active, now)
        member.failure, member.failures, member.retry_at = None, 0, None
        asked, member.asked_at = member.asked_at, None
        if asked is not None and member.powered_since is not None:
            if member.asked_for in ("lease", "hand"):
                member.last_boot = now - member.powered_since
                self.boots.append(now - asked)
            self._tell(BootFinished(name, now - asked, member.asked_for))
        queued, member.queued = member.queued, {}
        for claim in queued:
            self._hold(claim, member)
            self._settle(claim)
        self._fill(member)
        self._arm(member)

    def failed(self, name: str, reason: str, *, timed_out: bool = False, may_pass: bool = False) -> None:
        """The node could not be switched, or was not ready in time (``timed_out``). All who waited for it are
        told once, or go on to another; it is left alone for a while, a short one for a trouble that may
        pass."""
        member = self.members[name]
        if member.state not in (State.QUEUED, State.ON, State.STOPPING):
            return
        now = self._now()
        settings = self.settings
        base = min(settings.retry_after_failure, _SHORT_BACK_OFF if may_pass else float("inf"))
        back_off = min(2.0 ** min(member.failures, 10), _BACK_OFF_MOST) * base
        member.state = State.FAILED
        member.asked_at = None
        member.failure = reason
        member.failures += 1
        member.retry_at = now + back_off
        self.actions.append(Recover(name, back_off, member.held == 0))
        self._tell(BootFailed(name, reason, back_off))
        queued, member.queued = member.queued, {}
        named = list(member.queue)
        member.queue.clear()
        error = (BootTimeoutError if timed_out else BootError)(f"{name}: {reason}", back_off)
        for claim in (*queued, *named):
            claim.member = None
            if claim.wanted is not None or not settings.redispatch:
                self._settle(claim, error)
            else:
                self._redispatch(claim, name, error)
        for claim in [c for c in self._queue if not self._may_wait(c)]:
            self._queue.remove(claim)
            self._settle(claim, error)

    def _redispatch(self, claim: Claim, name: str, error: PoolError) -> None:
        claim.exclude = {*(claim.exclude or ()), name}
        try:
            member = self._choose(claim)
        except NoNodeError:
            self._settle(claim, error)
            return
        self.waiting -= 1
        if self._place(claim, member):
            claim.settled()

    def recovered(self, name: str) -> None:
        """A node that failed may be tried again."""
        member = self.members[name]
        if member.state is State.FAILED:
            member.retry_at = None
            if member.powered_since is None:
                member.state = State.OFF
            else:
                self._begin(member, State.ON, Check(name), "check")
            self._fill(member)

    def suspect(self, name: str) -> None:
        """A lease met a failure: the node gets no new ones until it has been looked at."""
        member = self.members[name]
        if member.state is State.READY:
            self._begin(member, State.ON, Check(name), "check")

    def lost(self, name: str, reason: str = "outside") -> None:
        """The node has no power any more. Who waits for it is served by its next boot."""
        member = self.members[name]
        self._count_off(member, reason)
        if member.state is State.FAILED:
            return
        member.state = State.OFF
        member.asked_at = None
        if member.queued:
            self._boot(member, "lease")
        else:
            self._fill(member)

    def _count_off(self, member: Member, reason: str) -> None:
        if member.powered_since is not None:
            seconds = self._now() - member.powered_since
            member.seconds_on += seconds
            member.powered_since = None
            self._tell(PoweredOff(member.name, reason, seconds))

    def cut(self, name: str) -> None:
        """A node that failed was switched off."""
        self._count_off(self.members[name], "failure")

    def due_at(self, name: str) -> float:
        """When the node may go off if nothing happens until then; ``inf`` where it may not."""
        member = self.members[name]
        if member.state is not State.READY:
            return float("inf")
        return self.idler.due_at(member)

    def _arm(self, member: Member) -> None:
        if not member.armed and self.due_at(member.name) < float("inf"):
            member.armed = True
            self.actions.append(Arm(member.name))

    def due(self, name: str) -> bool:
        """Decides: a node that has been idle for long enough goes off, and from now on gets no lease until
        the power is off. Answers whether to come again at the new `due_at`."""
        member = self.members[name]
        due_at = self.due_at(name)
        if self._now() >= due_at and not member.in_flight:
            self._rest(member, "idle")
        member.armed = member.state is State.READY and due_at < float("inf")
        return member.armed

    def rest(self, name: str) -> bool:
        """Off by hand; False where it is in use or not to be switched now."""
        member = self.members[name]
        if member.state is not State.READY or member.in_flight:
            return False
        self._rest(member, "hand")
        return True

    def _rest(self, member: Member, reason: str) -> None:
        member.state = State.STOPPING
        self.actions.append(Rest(member.name, reason))

    def rested(self, name: str, reason: str) -> None:
        """The power that `Rest` asked to cut is off."""
        self.lost(name, reason)

    def active(self, name: str) -> None:
        """Something went to the node or came from it."""
        self.members[name].last_active = self._now()

    # Telling --------------------------------------------------------------------------------------------

    def estimate(self, member: Member | None = None) -> float:
        """Seconds until the node is ready, by the boots seen so far; without one, that which is next."""
        whole = max(self.boots, default=self.settings.boot_estimate)
        if member is None:
            asked = [m.asked_at for m in self._list if m.starting and m.asked_at is not None]
            since = min(asked, default=None)
        else:
            since = member.asked_at
        return whole if since is None else max(0.0, whole - (self._now() - since))

    def close(self) -> None:
        """No more leases; who waits is told."""
        self.closed = True
        error = PoolClosedError("the pool was closed while this waited for a node")
        for member in self._list:
            claims = [*member.queued, *member.queue]
            member.queued.clear()
            member.queue.clear()
            for claim in claims:
                self._settle(claim, error)
        while self._queue:
            self._settle(self._queue.popleft(), error)

    def subscribe(self, callback: Callable[[PoolEvent], object]) -> None:
        self._listeners.append(callback)

    def _tell(self, event: PoolEvent) -> None:
        for listener in self._listeners:
            listener(event)
