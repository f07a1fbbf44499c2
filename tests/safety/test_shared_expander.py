"""Processes that switch different lines of one expander, whose output register each rewrites whole."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

# Before the forks: another user may not be able to read it.
import smbus2  # noqa: F401  # pyright: ignore[reportUnusedImport]

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.backend import OpenRequest
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.hardware.locks import FileLock
from rpi_clusterhat.testing import FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from tests.safety.processes import USERS, Child, lock_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

pytestmark = pytest.mark.slow

ADDRESS = 0x20
LINES = board("2.3").lines
OUTPUT = 1
WRITES = 500


class FileExpander(FakeExpander):
    """An expander whose registers are the bytes of a file: each access is atomic, and nothing more is.

    So it is for several processes what the chip is on a bus.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_RDWR)

    def transfer(self, messages: Sequence[bytes | int]) -> list[bytes]:
        for register in range(len(self._registers)):
            self._registers[register] = os.pread(self._fd, 1, register)[0]
        answers = super().transfer(messages)
        for register, value in self.log:
            os.pwrite(self._fd, bytes([value]), register)
        self.log.clear()
        os.sched_yield()  # lets others in where the library does not keep them out
        return answers


@pytest.fixture
def folder() -> Generator[str]:
    with lock_folder() as path:
        registers = os.path.join(path, "registers")
        with open(registers, "wb") as file:
            file.write(bytes([0x00, 0x00, 0x00, 0x00]))  # set up, all off
        os.chmod(registers, 0o666)
        yield path


def output(folder: str) -> int:
    with open(os.path.join(folder, "registers"), "rb") as file:
        return file.read()[OUTPUT]


def open_backend(folder: str, *, expander: FileExpander | None = None) -> I2CBackend:
    expander = expander or FileExpander(os.path.join(folder, "registers"))
    bus: Any = FakeSMBus({ADDRESS: expander})
    return I2CBackend(bus, OpenRequest(LINES, {"bus": 1, "address": ADDRESS}, SYSTEM, folder, {}))


def switch(folder: str, offset: int, writes: int) -> Callable[[], None]:
    """Switches one line to and fro; each level must be found as it was left. Leaves it on."""

    def work() -> None:
        backend = open_backend(folder)
        backend.read()
        for i in range(writes):
            level = bool(i % 2)
            backend.write({offset: level})
            assert backend.read()[offset] is level, f"line {offset} was undone after {i} writes"
            assert not backend.altered, f"others of ours were taken for strangers after {i} writes"
        backend.write({offset: True})

    return work


def test_they_never_undo_each_other(folder: str) -> None:
    children = [Child(switch(folder, offset, WRITES), USERS[offset % len(USERS)]) for offset in range(4)]
    try:
        assert [child.wait() for child in children] == [0, 0, 0, 0]
    finally:
        for child in children:
            child.kill()
    assert output(folder) == 0x0F


def test_one_that_is_killed_harms_nobody(folder: str) -> None:
    """Again and again, anywhere: the lock ends with its holder, and its line is the only one in doubt."""
    children = [Child(switch(folder, offset, WRITES), USERS[offset % len(USERS)]) for offset in range(3)]
    try:
        killed = 0
        while not all(child.has_ended for child in children):
            victim = Child(switch(folder, 3, 10**9), USERS[killed % len(USERS)])
            SYSTEM.sleep(0.013 + killed % 7 * 0.003)
            assert not victim.has_ended
            victim.kill()
            killed += 1
        assert [child.wait() for child in children] == [0, 0, 0]
    finally:
        for child in children:
            child.kill()
    assert killed >= 3
    assert output(folder) & 0x07 == 0x07
    open_backend(folder).write({3: False})
    assert output(folder) == 0x07


def test_without_the_lock_they_would(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the tests above can fail: here the lock lets everyone in."""

    def hold(_: FileLock) -> nullcontext[None]:
        return nullcontext()

    def store(_: FileLock, record: bytes) -> None:
        del record

    monkeypatch.setattr(FileLock, "hold", hold)
    monkeypatch.setattr(FileLock, "store", store)
    expander = FileExpander(os.path.join(folder, "registers"))
    first, second = open_backend(folder, expander=expander), open_backend(folder)
    first.read()
    second.read()
    second.write({1: True})
    expander.before(lambda: second.write({1: False}), at=2)  # between the read and the write of the first
    first.write({0: True})
    assert output(folder) == 0x03  # the second's line is on again
