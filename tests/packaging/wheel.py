"""Builds the wheel and runs the tests on it, in a new environment, where the source tree is out of reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTED = (
    "tests/base",
    "tests/hardware",
    "tests/power",
    "tests/nodes",
    "tests/cluster",
    "tests/pool",
    "tests/testing",
    "tests/backends",
    "tests/cli",
    "tests/packaging",
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="rpi-clusterhat-wheel-") as temporary:
        room = Path(temporary)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", str(room), str(ROOT), quiet=True)
        (wheel,) = room.glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        strays = {n.split("/")[0] for n in names if not n.startswith(("rpi_clusterhat", "clusterhat_proxy/"))}
        if strays:
            sys.exit(f"the wheel {wheel.name} holds what it should not: {', '.join(sorted(strays))}")
        venv.create(room / "venv", with_pip=True)
        python = str(room / "venv" / "bin" / "python")
        packages = [f"{wheel}[gpiod,i2c,cli,proxy]", "pytest", "hypothesis"]
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        checkout = room / "checkout"
        for part in ("tests", "examples"):
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, checkout / part)
        run(str(room / "venv" / "bin" / "rpi-clusterhat"), "version")
        run(str(room / "venv" / "bin" / "clusterhat-proxy"), "--help", quiet=True)
        tested = [part for part in TESTED if (checkout / part).is_dir()]
        return subprocess.call([python, "-m", "pytest", "-q", *tested], cwd=checkout, env=environment())


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: str, quiet: bool = False) -> None:
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL if quiet else None)


if __name__ == "__main__":
    sys.exit(main())
