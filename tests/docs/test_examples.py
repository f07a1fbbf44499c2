"""Every example runs as the documentation says, without arguments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .sessions import PAGES, Command

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SERVERS = ["demo.py", "gateway.py"]
"""Tested with the proxy."""
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if not p.name.startswith("test_"))


OUTPUT = {
    **{
        Path(command.text.split()[-1]).name: command.shows
        for steps in PAGES.values()
        for command in steps
        if isinstance(command, Command) and command.shows and re.match(r"python \S+\.py$", command.text)
    },
    "shared_world.py": "on\n",
    "asyncio_nodes.py": "gave up waiting\np1 on\np2 off\np3 off\np4 off\n",
    "several_boards.py": "HAT 2.3: p1, p2 on\nHAT 3.1: p5, p6 on\n",
    "brown_out.py": "spacing 2 s: p1 has booted 1 time(s)\nspacing 0 s: p1 has booted 2 time(s)\n",
    "ssh_nodes.py": "",
    "probe_nodes.py": """\
down: connection refused by 127.0.0.1
up: connected to 127.0.0.1; status 200 from 127.0.0.1
""",
}
"""What each prints: as a page shows it, or as it is here."""


def _run(*arguments: str, cwd: Path, path: str = "") -> str:
    """As from a fresh shell: nothing of this machine's settings counts."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RPI_CLUSTERHAT_")}
    env |= {"HOME": str(cwd), "PYTHONPATH": path, "PYTHONWARNINGS": "error"}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert ran.stderr == ""
    return ran.stdout


def test_each_script_has_its_output_here() -> None:
    assert {*OUTPUT, *SERVERS} >= {*SCRIPTS} >= {*OUTPUT}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OUTPUT))
def test_script(name: str, tmp_path: Path) -> None:
    assert _run(str(EXAMPLES / name), cwd=tmp_path) == OUTPUT[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_my_code.py", "test_my_pool.py"])
def test_the_tests_of_ones_own_code(name: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / name, tmp_path)
    assert " passed" in _run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
