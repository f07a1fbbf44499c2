"""The command in this process, away from the machine's own settings, locks and buses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rpi_clusterhat.cli import main
from rpi_clusterhat.hardware import boards
from rpi_clusterhat.settings import library as settings_module
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Result(NamedTuple):
    code: int
    out: str
    err: str


class ActingClock(FakeClock):
    """Others act during its waits: ``during`` has what to do in which of them, counted from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.during: dict[int, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        if action := self.during.pop(len(self.sleeps) + 1, None):
            action()
        super().sleep(seconds)


class Command:
    """Runs the command in this process; waiting moves ``clock``."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.clock = ActingClock()
        self._capsys = capsys

    def __call__(self, *argv: str) -> Result:
        code = main(argv, clock=self.clock)
        out, err = self._capsys.readouterr()
        return Result(code, out, err)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty settings file in place of the machine's, and a lock folder; processes inherit both."""
    for name in [name for name in os.environ if name.startswith("RPI_CLUSTERHAT_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "settings.toml"
    file.touch()
    monkeypatch.setenv("RPI_CLUSTERHAT_CONFIG", str(file))
    monkeypatch.setenv("RPI_CLUSTERHAT_LOCK_DIR", str(tmp_path))
    defaults = settings_module.load_settings.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "vendor_file", str(tmp_path / "clusterctrl"))
    monkeypatch.setattr(boards, "DEVICE_TREE", str(tmp_path / "hat"))
    return file


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def expander(monkeypatch: pytest.MonkeyPatch) -> FakeExpander:
    """What ``--board 2.3`` meets at 0x20 of any bus: nobody has set it up since it got power."""
    chip = FakeExpander()

    def open_bus(bus: int | str) -> FakeSMBus:
        return FakeSMBus({0x20: chip})

    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
    return chip


@pytest.fixture
def sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the sim backend the one that is used, and returns its state file."""
    state = tmp_path / "world.json"
    monkeypatch.setenv("RPI_CLUSTERHAT_BACKEND", "sim")
    monkeypatch.setenv("RPI_CLUSTERHAT_OPTIONS", f"state={state}")
    return state
