"""Builds the wheel, installs it, and runs pytest on it where the library's source is out of reach.

    python tests/packaging/wheel.py [ARGUMENT OF PYTEST ...]

What the tests need besides is taken from the environment of this Python: nothing is downloaded. The copy of
the tests and the environment with the wheel lie in the folder ``installed`` there, made anew each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(sys.prefix) / "installed"
FOLDERS = ("backends", "docs", "examples", "tests")
"""All but the library's own: pytest imports from the folder it runs in. The plugins lie a folder deeper."""


def main(arguments: list[str]) -> int:
    shutil.rmtree(PLACE, ignore_errors=True)
    python = install(build())
    return subprocess.call([python, "-m", "pytest", *arguments], cwd=copy(), env=environment())


def build() -> Path:
    """The wheel, which holds the library's packages and nothing else."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(PLACE), cwd=ROOT)
    (wheel,) = PLACE.glob("*.whl")
    strays = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    strays = {name for name in strays if not name.startswith(("rpi_clusterhat", "clusterhat_proxy"))}
    if strays:
        sys.exit(f"the wheel {wheel.name} holds what it should not: {', '.join(sorted(strays))}")
    return wheel


def install(wheel: Path) -> str:
    """The Python of an environment that has the wheel, before all that this one has."""
    folder = PLACE / "environment"
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel))
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(site, "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    run(str(folder / "bin" / "rpi-clusterhat"), "version")
    run(str(folder / "bin" / "clusterhat-proxy"), "--help")
    return python


def copy() -> Path:
    checkout = PLACE / "checkout"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, checkout)
    return checkout


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "CLUSTERHAT_TEST_CHECKOUT": str(ROOT)}


def run(*command: str, cwd: Path | None = None) -> None:
    """Quietly, unless it fails."""
    ran = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
