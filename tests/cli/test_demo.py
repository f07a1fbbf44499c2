"""The demo shows what it says it shows, and notices when it does not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from types import ModuleType

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The demo as a module, on a clock that takes no time."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clock = FakeClock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.now, sleep=clock.sleep))

    def open_cluster(*args: Any, **said: Any) -> Cluster:
        return Cluster.open(*args, **said, clock=clock)

    monkeypatch.setattr(module, "Cluster", SimpleNamespace(open=open_cluster))
    return module


@pytest.mark.slow
def test_the_demo_as_it_is_run() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "browned out: 12 A of 5.8 A" in done.stdout
    assert "p4 waits 2.0 s" in done.stdout
    assert "NOT SO" not in done.stdout


def test_its_clock_can_be_moved(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    assert "between two power-ups: 2.00, 2.00, 2.00 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "missed"),
    [("capacity=100", "[NOT SO] the supply browned out"), ("boot_time=60", "[NOT SO] all four are up")],
)
def test_it_notices_what_it_did_not_show(
    demo: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    missed: str,
) -> None:
    key, _, value = option.partition("=")
    opened = demo.Cluster.open

    def open_otherwise(*args: Any, options: dict[str, object], **said: Any) -> Cluster:
        other: Cluster = opened(*args, options={**options, key: value}, **said)
        return other

    monkeypatch.setattr(demo.Cluster, "open", open_otherwise)
    assert demo.main() == 1
    assert missed in capsys.readouterr().out
