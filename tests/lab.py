"""What tests of the library share: settings that nobody else has said, and a laboratory."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from rpi_clusterhat import AsyncCluster, Cluster
from rpi_clusterhat.errors import ClosedError
from rpi_clusterhat.hardware.backend import OpenRequest
from rpi_clusterhat.hardware.boards import board, node_names
from rpi_clusterhat.hardware.locks import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.settings import library as settings_module
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

# The same examples on each run and on each machine; no folder of examples, no deadline on slow controllers.
settings.register_profile("unit", derandomize=True, database=None, deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine is seen by a test."""
    for name in [name for name in os.environ if name.startswith(settings_module.ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings_module, "_FILES", ())
    defaults = settings_module.load_settings.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "vendor_file", str(tmp_path / "clusterctrl"))


class ScriptedClock(FakeClock):
    """A fake clock, during whose sleeps others act. Each of ``during`` is called in one sleep, in turn,
    before the time passes; no lock of a cluster is held then, so it stands for another thread or program."""

    def __init__(self) -> None:
        super().__init__()
        self.during: list[Callable[[], object]] = []

    def _act(self) -> None:
        if self.during:
            self.during.pop(0)()

    def sleep(self, seconds: float) -> None:
        self._act()
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self._act()
        await super().asleep(seconds)


class LockstepClock(ScriptedClock):
    """A fake clock for threads: time passes only while all of them sleep, and the first that is due wakes."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Condition()
        self._running = 0
        self._sleeping: list[tuple[float, int]] = []

    def run(self, *calls: Callable[[], object]) -> list[BaseException]:
        """Makes the calls, each in a thread of its own; what they raise."""
        problems: list[BaseException] = []

        def work(call: Callable[[], object]) -> None:
            try:
                call()
            except BaseException as problem:  # noqa: BLE001  # the caller judges
                problems.append(problem)
            finally:
                with self._turn:
                    self._running -= 1
                    self._turn.notify_all()

        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        self._running = len(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return problems

    def sleep(self, seconds: float) -> None:
        if not self._running:
            super().sleep(seconds)
            return
        self._act()
        with self._turn:
            self.sleeps.append(seconds)
            own = (self.now() + seconds, threading.get_ident())
            self._sleeping.append(own)
            self._turn.notify_all()
            while self.now() < own[0]:
                if len(self._sleeping) == self._running and min(self._sleeping) == own:
                    self.advance(own[0] - self.now())
                else:
                    self._turn.wait()
            self._sleeping.remove(own)
            self._turn.notify_all()


class MemoryBackend:
    """A bank of lines in memory. ``before`` and ``after`` are called around each access with its name."""

    def __init__(self, levels: Mapping[int, bool], *, holds_levels: bool = True) -> None:
        self.levels = dict(levels)
        self.holds_levels = holds_levels
        self.written: list[dict[int, bool]] = []
        self.closed = 0
        self.before: Callable[[str], object] = str
        self.after: Callable[[str], object] = str

    def read(self) -> dict[int, bool]:
        self._check()
        self.before("read")
        levels = dict(self.levels)
        self.after("read")
        return levels

    def write(self, levels: Mapping[int, bool]) -> None:
        self._check()
        self.before("write")
        self.written.append(dict(levels))
        self.levels.update(levels)
        self.after("write")

    def close(self) -> None:
        self.closed += 1

    def _check(self) -> None:
        if self.closed:
            raise ClosedError("this bank was closed")


class Lab:
    """Boards to make clusters of, as many clusters of one board as there are programs that use it. All keep
    their locks in one folder and share one rail."""

    def __init__(self, lock_dir: Path) -> None:
        self.lock_dir = str(lock_dir)
        self.clock = LockstepClock()

    def rail(self, spacing: float = 2.0) -> Rail:
        turnstile = FileTurnstile(lock_path(self.lock_dir, "rail-main"), clock=self.clock)
        return Rail(turnstile, self.clock, spacing)

    @staticmethod
    def expander(version: str = "2.3", *, nodes: int = 0, **changes: Any) -> FakeExpander:
        """One that is set up, with these nodes (one bit each) on."""
        expander = FakeExpander(**changes)
        levels = board(version).first_levels(dict.fromkeys(range(8), False))
        expander.output = sum(level << offset for offset, level in levels.items()) | nodes
        expander.direction = 0x00
        return expander

    def backend(self, expander: FakeExpander, version: str = "2.3", address: int = 0x20) -> I2CBackend:
        bus = FakeSMBus({address: expander})
        options = {"bus": 1, "address": address}
        return I2CBackend(bus, OpenRequest(board(version).lines, options, self.clock, self.lock_dir, {}))

    def banks(self, *backends: Any, version: str = "2.3", size: int = 4, spacing: float = 2.0) -> list[Bank]:
        rail = self.rail(spacing)
        names = node_names([board(version, size)] * len(backends))
        return [
            Bank(board(version, size), backend, rail, own)
            for backend, own in zip(backends, names, strict=True)
        ]

    def hat(self, *expanders: FakeExpander, **changes: Any) -> Cluster:
        """A cluster of v2.3 boards (unless ``version`` says otherwise), as a new program opens it."""
        return Cluster(self._banks(expanders, **changes), self.clock)

    def async_hat(self, *expanders: FakeExpander, **changes: Any) -> AsyncCluster:
        return AsyncCluster(self._banks(expanders, **changes), self.clock)

    def _banks(self, expanders: tuple[FakeExpander, ...], **changes: Any) -> list[Bank]:
        version = changes.get("version", "2.3")
        backends = [self.backend(e, version, 0x20 + i) for i, e in enumerate(expanders)]
        return self.banks(*backends, **changes)

    @staticmethod
    def memory(*, on: tuple[int, ...] = (), holds_levels: bool = True) -> MemoryBackend:
        """A bank for a v1 board in memory, with these nodes on."""
        power = (6, 13, 19, 26)
        levels = {5: False, **{offset: i in on for i, offset in enumerate(power, 1)}}
        return MemoryBackend(levels, holds_levels=holds_levels)

    def v1(self, *backends: MemoryBackend) -> Cluster:
        """A cluster of v1 boards on banks in memory."""
        return Cluster(self.banks(*backends, version="1.3"), self.clock)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def as_nobody() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A context in which this process has no rights beyond those of any user."""

    @contextlib.contextmanager
    def change() -> Generator[None]:
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            if uid == 0:
                os.seteuid(0)

    return change
