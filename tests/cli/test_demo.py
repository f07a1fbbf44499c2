"""The demo shows what it says it shows, and notices when it does not."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"

pytestmark = pytest.mark.slow


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_as_it_is_run() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("[ok]") == 8
    assert "NOT SO" not in done.stdout


def test_it_notices_what_it_did_not_show(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    listen = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with demo.proxy("--boot-time", "0.1", *listen) as (_, lines):
        one = demo.Demo(*(line.rpartition("//")[2].rstrip("/") for line in lines))
        demo.one_request(one)
    assert one.mistakes == 1
    assert "[NOT SO] p" in capsys.readouterr().out


def test_it_leaves_the_proxy_running_when_asked_to() -> None:
    argv = [sys.executable, str(DEMO), "--serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            lines = [served.stdout.readline() for _ in range(3)]
            assert lines[0].startswith("proxy on http://127.0.0.1:")
            assert lines[1].startswith("status on http://127.0.0.1:")
            assert served.poll() is None
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(timeout=30) == 0
