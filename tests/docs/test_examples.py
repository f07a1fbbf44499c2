"""Every example runs as the documentation says, without arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SERVERS = ["demo.py", "gateway.py"]
"""Tested with the proxy."""
SCRIPTS = sorted(p.name for p in EXAMPLES.glob("*.py") if not p.name.startswith("test_"))


OUTPUT = {
    "first_script.py": "p1 on\np2 off\np3 on\np4 off\n",
    "shared_world.py": "on\n",
    "events.py": """\
 0.0 s  p1 off -> queued (request)
 0.0 s  p2 off -> queued (request)
 0.0 s  p3 off -> queued (request)
 0.0 s  p1 queued -> on (request)
 0.0 s  p2 waits 2 s for its turn
 2.0 s  p2 queued -> on (request)
 2.0 s  p3 waits 2 s for its turn
 4.0 s  p3 queued -> on (request)
 4.0 s  p1 on -> off (request)
 4.0 s  p2 on -> off (request)
 4.0 s  p3 on -> off (request)
""",
    "asyncio_nodes.py": "gave up waiting\np1 on\np2 off\np3 off\np4 off\n",
    "several_boards.py": "HAT 2.3: p1, p2 on\nHAT 3.1: p5, p6 on\n",
    "keep_on.py": "p1 is ready\np3 is ready\np1 is off\n",
    "logs.py": """\
INFO my_program: p1: off -> queued (request)
INFO my_program: p1: queued -> on (request)
INFO my_program: p1: on -> off (request)
""",
    "brown_out.py": "spacing 2 s: p1 has booted 1 time(s)\nspacing 0 s: p1 has booted 2 time(s)\n",
    "probe_nodes.py": """\
down: connection refused by 127.0.0.1
up: connected to 127.0.0.1; status 200 from 127.0.0.1
""",
    "my_service.py": "Hello world, this is p3.\nand p3 is gone\n",
    "on_demand.py": """\
BootStarted p1: lease
BootFinished p1: lease
p1 answers 200
p1 answers 200
PoweredOff p1: idle
""",
    "on_demand_asyncio.py": """\
p1 starts: about 20 s
p1 is ready
p1 is ready
p2 starts: about 1 s
BootTimeoutError, again in 30 s
NoNodeError, again in 30 s
""",
    "faults.py": """\
p2: the simulated bank 0 has lines that were made to stick: p2 low
p1=on p2=failed p3=on p4=on
the simulated bank 0 does not acknowledge, as was asked for: try again
board 0 lost power
off
""",
}


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


@pytest.mark.slow
def test_the_plugin_passes_its_tests_when_it_is_installed(tmp_path: Path) -> None:
    """Installed by hand, as pip would: this test needs no network."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLES / "plugin", source, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [(group, targets)] = project["entry-points"].items()
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in targets.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    shutil.move(source / "clusterhat_leds.py", site)
    output = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=source, path=str(site))
    assert " passed" in output
