"""The order in which a node is halted: may it be, is it asked, is it down."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import (
    ClusterHatError,
    CommandTimeoutError,
    HaltRefusedError,
    SettingError,
    SupersededError,
)
from rpi_clusterhat.waiting import Sleep

from .phases import HaltPhase, HaltTrigger, after
from .way import NotWantedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps

    from .way import Gate, HaltWay, Sighting, Sign

__all__ = ["Guard", "Halted", "Halter"]

POLL = 0.1
"""Seconds between two looks whether the node is down: chosen, not measured."""

_AGAIN = 2.0
"""Seconds until a node that could not be asked in any way is asked again: it may be booting."""
_ASK_MOST = 20.0
"""Seconds for which one way may keep the others from being tried, where there are others."""

if TYPE_CHECKING:
    Guard = Callable[[str], Steps[str | None]]
    """Says why the node of a name must not be halted now; None where it may be."""


class Halted(Frozen):
    """How the halt of a node ended. It is true where the node is down."""

    is_down: bool
    way: str | None
    """How it was asked; None where no way worked, or none was needed."""
    seconds: float
    """From the beginning until it was down, or until this was given up."""
    reason: str
    """From what one can tell that it is down; else what is wrong."""

    def __bool__(self) -> bool:
        return self.is_down


class Halter:
    """Halts one node. To be used by one halt at a time, from any thread.

    Args:
        name: The node's.
        ways: The ways to ask it, the first to be tried first.
        signs: What can tell that it is down.
        guards: Who may refuse a halt.
        timeout: Seconds that all of it may take, without the settling time.
        settle: Seconds between a node that is down and the return.
        quiet: For how many seconds it must be silent where no sign is sure.
    """

    def __init__(
        self,
        name: str,
        ways: Sequence[HaltWay],
        signs: Sequence[Sign],
        *,
        guards: Sequence[Guard] = (),
        timeout: float = 60.0,
        settle: float = 2.0,
        quiet: float = 10.0,
    ) -> None:
        self.name = name
        self.ways = tuple(ways)
        self.signs = tuple(signs)
        self.guards = tuple(guards)
        self.timeout = timeout
        self.settle = settle
        self.quiet = quiet
        self.phase = HaltPhase.GUARDS
        """How far the halt has come."""
        self._may_be_told = False
        """Whether the time of a way was over when it may have told the node."""

    def __repr__(self) -> str:
        return f"<Halter {self.name} {self.phase!s}>"

    def steps(self, clock: Clock, gate: Gate) -> Steps[Halted]:
        """Makes the steps that halt the node.

        Args:
            clock: What it waits by.
            gate: Is asked before the node is told.

        Raises:
            HaltRefusedError: A guard does not allow it.
            SupersededError: The halt was called off before the node was asked.
            SettingError: A setting that a way needs is invalid. The node was not told.
        """
        began = clock.now()
        self._begin()
        for guard in self.guards:
            if (why := (yield from guard(self.name))) is not None:
                self._move(HaltTrigger.REFUSE)
                raise HaltRefusedError(f"{self.name} is not halted: {why}")
        self._move(HaltTrigger.ALLOW)
        try:
            halted = yield from self._halt(clock, gate)
        except NotWantedError:
            if gate.is_over():
                return self._lost(None, clock.now() - began)
            self._move(HaltTrigger.WANT)
            raise SupersededError(f"the halt of {self.name} was called off: it is to stay on") from None
        finally:
            for way in self.ways:
                way.close()
        if self.phase is HaltPhase.SETTLING:
            yield Sleep(self.settle)
            self._move(HaltTrigger.SETTLE)
        return halted

    def _begin(self) -> None:
        self.phase = HaltPhase.GUARDS
        self._may_be_told = False

    def _lost(self, way: str | None, seconds: float) -> Halted:
        self._move(HaltTrigger.LOSE)
        return Halted(True, way, seconds, "its power was cut")

    def _move(self, trigger: HaltTrigger) -> None:
        self.phase = after(self.phase, trigger)

    def _halt(self, clock: Clock, gate: Gate) -> Steps[Halted]:
        began = clock.now()

        def left() -> float:
            return began + self.timeout - clock.now()

        alive: list[Sign] = []
        way: str | None = None
        why: dict[str, str] = {}
        silent_since: float | None = None
        asked_at = began
        while not gate.is_over():
            if self.phase is HaltPhase.ASKING and clock.now() >= asked_at:
                for sign in self.signs:  # also those that were not there yet: it may be booting
                    alive += [sign] if sign not in alive and (yield from sign.begin()) else []
                way = yield from self._ask(left, gate, why)
                if way is not None:
                    self._move(HaltTrigger.TELL)
                    silent_since = None  # what was silent before it was told is no sign of its halt
                asked_at = clock.now() + _AGAIN
            sighting = yield from _look(alive)
            now = clock.now()
            if sighting is not None and sighting.is_down:
                silent_since = now if silent_since is None else silent_since
                was_silent = (way is not None or self._may_be_told) and now - silent_since >= self.quiet
                if sighting.is_sure or was_silent:
                    if way is None:
                        with suppress(NotWantedError):  # it has to boot anew for whoever wants it
                            gate.go()
                    self._move(HaltTrigger.SEE_DOWN)
                    return Halted(True, way, now - began, sighting.reason)
            else:
                silent_since = None
            if way is None and gate.is_wanted():
                raise NotWantedError
            if left() <= 0:
                if way is None:  # from now on nobody is told that it stays on
                    gate.go()
                self._move(HaltTrigger.TIME_OUT)
                return Halted(False, way, now - began, self._why_not(way, why, sighting))
            yield Sleep(min(POLL, left()))
        return self._lost(way, clock.now() - began)

    def _ask(self, left: Callable[[], float], gate: Gate, why: dict[str, str]) -> Steps[str | None]:
        for i, way in enumerate(self.ways):
            others = len(self.ways) - i - 1
            for_others = max(left() - _ASK_MOST, left() * others / (others + 1)) if others else 0.0

            def left_for_this(for_others: float = for_others) -> float:
                return left() - for_others

            try:
                yield from way.ask(left_for_this, gate.go)
            except SettingError:  # it does not get right by itself
                gate.back()
                raise
            except ClusterHatError as error:
                why[way.name] = str(error)
                if isinstance(error, CommandTimeoutError):
                    self._may_be_told = True
                else:
                    gate.back()
            else:
                return way.name
            if left() <= 0:
                break
        return None

    def _why_not(self, way: str | None, why: dict[str, str], sighting: Sighting | None) -> str:
        within = f"within {self.timeout:g} s"
        if way is None:
            tried = "; ".join(f"{name}: {reason}" for name, reason in why.items())
            return f"it could not be asked to halt {within}: {tried}"
        if sighting is None:
            return f"it was asked to halt (by {way}), and nothing tells whether it is down"
        return f"it was asked to halt (by {way}), and was not down {within}: {sighting.reason}"


def _look(signs: Sequence[Sign]) -> Steps[Sighting | None]:
    """The surest of what the signs say: down for sure, up, down perhaps; None where there is no sign."""
    found: Sighting | None = None
    for sign in signs:
        sighting = yield from sign.look()
        if sighting is None:
            continue
        if sighting.is_down and sighting.is_sure:
            return sighting
        if found is None or (found.is_down and not sighting.is_down):
            found = sighting
    return found
