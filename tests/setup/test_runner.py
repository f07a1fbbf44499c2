"""Programs of the system, as root runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.setup.runner import Runner
from rpi_clusterhat.setup.steps import SetupError

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_of_the_callers_environment_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    told = tmp_path / "told"
    Runner().run(["/bin/sh", "-c", f"{{ env; pwd; readlink /proc/self/fd/0; }} >{told}"])
    lines = set(told.read_text().splitlines())
    assert {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "/", "/dev/null"} <= lines
    shells_own = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {line.partition("=")[0] for line in lines} - {"/", "/dev/null"} <= {"PATH", "LC_ALL"} | shells_own


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(SetupError, match=r"^/bin/sh ended with the code 7: first second$"):
        Runner().run(["/bin/sh", "-c", "echo first; echo second >&2; exit 7"])
    with pytest.raises(SetupError, match=r"^/bin/false ended with the code 1$"):
        Runner().run(["/bin/false"])


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(SetupError, match=r"^/nowhere/tool cannot be run: No such file or directory$"):
        Runner().run(["/nowhere/tool"])


def test_a_program_that_hangs_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(SetupError, match=r"did not end within 0\.2 s"):
        Runner(0.2).run(["/bin/sleep", "60"])
    assert time.monotonic() - begun < 30


@pytest.mark.slow
def test_ctrl_c_does_not_reach_a_program_that_runs(tmp_path: Path) -> None:
    """It would leave a user database half written: the command ends after it instead."""
    script = (
        "import signal; signal.signal(signal.SIGINT, lambda *_: None)\n"
        "from rpi_clusterhat.setup.runner import Runner\n"
        f"Runner().run(['/bin/sh', '-c', 'echo >{tmp_path}/begun; sleep 0.5; echo >{tmp_path}/ended'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(20) == 0
    assert (tmp_path / "ended").exists()
