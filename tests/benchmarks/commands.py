"""Whole processes: what an import costs, and ``status`` beside the vendor's command on the same kernel.

The vendor's command is not part of this project. Name it in ``VENDOR_STATUS``, as a command line with full
paths, and it is run inside the kernel lab on the expander there, in turn with ours.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from tests.benchmarks.report import Row, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LAB = os.path.join(ROOT, "tests", "kernel", "lab")


def measure() -> Iterator[Row]:
    yield _import()
    yield _status()


def _import() -> Row:
    listing = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; from rpi_clusterhat import Cluster; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    packages = {name.partition(".")[0] for name in listing.stdout.split()}
    foreign = sorted(
        packages - sys.stdlib_module_names - {"rpi_clusterhat", "__main__"} - _of_the_environment()
    )
    ours, bare, ratio = in_turn(
        lambda: _python("from rpi_clusterhat import Cluster"), lambda: _python("pass")
    )
    return Row(
        "import of Cluster",
        "no third-party module",
        f"{', '.join(foreign) or 'none'}; {ours * 1e3:.0f} ms",
        f"bare Python {bare * 1e3:.0f} ms (x {ratio:.2f})",
        not foreign,
    )


def _of_the_environment() -> set[str]:
    """What the environment itself loads into every process, by its .pth files."""
    bare = [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"]
    listing = subprocess.run(bare, check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in listing.stdout.split()}


def _python(code: str) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def _as_users_have_it() -> str:
    """The command, installed by pip with its bytecode in an environment of its own."""
    folder = os.path.join(ROOT, "build", "bench")
    venv.create(folder, with_pip=True, clear=True)
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*pip, "install", "--no-warn-script-location", f"{ROOT}[i2c]"], check=True, env=env)
    return os.path.join(folder, "bin", "rpi-clusterhat")


def _status() -> Row:
    what, promise = "whole command status", "≤ 1.0 x the vendor's"
    vendor = os.environ.get("VENDOR_STATUS")
    if not vendor:
        return Row(what, promise, "not measured", "name the vendor's command in VENDOR_STATUS", None)
    boot = [sys.executable, os.path.join(LAB, "boot"), sys.executable, "-m", "tests.benchmarks.status_inside"]
    command = [*boot, _as_users_have_it(), *shlex.split(vendor)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        return Row(what, promise, "not measured", (ran.stderr or ran.stdout).strip()[-200:], None)
    figures = json.loads(ran.stdout.splitlines()[-1])
    return Row(
        what,
        promise,
        f"x {figures['ratio']:.2f} ({figures['ours'] * 1e3:.0f} ms)",
        f"vendor's {figures['theirs'] * 1e3:.0f} ms, both in the kernel lab",
        figures["ratio"] <= 1.0,
    )
