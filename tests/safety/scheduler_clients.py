"""Clients of a scheduler, and the work it asks for, in its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import (
    BootError,
    NoNodeError,
    PoolClosedError,
)
from rpi_clusterhat.pool.queue import LeaseRequest

if TYPE_CHECKING:
    from rpi_clusterhat.pool.actions import BackOff, Boot, Check, CutPower
    from tests.safety.test_scheduler_model import DispatcherMachine


class Client(LeaseRequest):
    """Somebody with a claim, who notes how it ended."""

    __slots__ = ("answers", "asked", "gone", "machine")

    def __init__(
        self, machine: DispatcherMachine, wanted: str | None, key: str | None, passive: bool
    ) -> None:
        super().__init__(wanted, key=key, passive=passive)
        self.machine = machine
        self.asked = False
        self.answers: list[str] = []
        self.gone = False

    def __repr__(self) -> str:
        return f"<Client wants {self.wanted} has {self.pooled_node} answers {self.answers} gone {self.gone}>"

    @property
    def waits(self) -> bool:
        return not self.answers and not self.gone

    @property
    def holds(self) -> bool:
        return self.answers == ["granted"] and not self.gone

    def answered(self) -> None:
        assert self.asked, "settled before it was told to wait"
        self.answer()

    def answer(self) -> None:
        assert not self.gone, "an answer for one who had left"
        assert not self.answers, "a second answer"
        if self.error is None:
            assert self.pooled_node is not None
            self.answers.append("granted")
            self.machine.granted(self, self.pooled_node)
        else:
            assert isinstance(self.error, (BootError, NoNodeError, PoolClosedError))
            self.answers.append("refused")


class Work:
    """What the driver was asked to do for a node, and how far it has come."""

    def __init__(self, action: Boot | Check | CutPower | BackOff, now: float) -> None:
        self.action = action
        self.since = now
        self.powered = False
        self.cut = self.cut_failed = False

    def __repr__(self) -> str:
        return f"<Work {self.action} powered={self.powered}>"
