"""Builds User-Mode Linux from Debian's source package."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from .once import CannotBuildError, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SOURCES = "/usr/src/linux-source-*.tar.xz"
TOOLS = {
    "bc": "bc",
    "bison": "bison",
    "flex": "flex",
    "gcc": "build-essential",
    "make": "build-essential",
    "xz": "xz-utils",
}


class Kernel(NamedTuple):
    """Where a kernel was built."""

    source: str
    """The name of the source archive."""
    tree: str
    """The folder of what was built, in which modules can be built too."""

    def install(self, path: str) -> None:
        run("strip", "-g", os.path.join(self.tree, "linux"), "-o", path)

    def build_modules(self, folder: str) -> None:
        """Builds the modules whose sources are in a folder of their own."""
        run(*_make(), "-C", self.tree, f"M={folder}", "modules")


def prepare(tools: dict[str, str] = TOOLS) -> str:
    """The kernel's source archive, with all tools in place: a package by the command that it brings.

    Raises `CannotBuildError`.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotBuildError(f"User-Mode Linux is built on x86-64 Linux only; this is {platform.machine()}")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = {package for tool, package in tools.items() if shutil.which(tool, path=path) is None}
    source = newest_source()
    if source is None:
        missing.add("linux-source")
    if missing:
        _install(sorted(missing))
        source = newest_source()
    if source is None:
        raise CannotBuildError(f"the package linux-source brought no {SOURCES}: this is not Debian's")
    return source


def newest_source() -> str | None:
    def version(path: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", os.path.basename(path))]

    return max(glob.glob(SOURCES), key=version, default=None)


def _install(packages: list[str]) -> None:
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise CannotBuildError(f"it needs Debian's packages {names}, and there is no apt-get here")
    if os.geteuid() != 0:
        raise CannotBuildError(f"packages are missing: sudo apt-get install --no-install-recommends {names}")
    if not glob.glob("/var/lib/apt/lists/*_Packages*"):
        run("apt-get", "update", "-qq")
    known = subprocess.run(["apt-cache", "show", *packages], capture_output=True, text=True, check=False)
    if known.returncode:
        raise CannotBuildError(f"apt-get knows no {names}: {known.stderr.strip()}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, environment=environment)


def compile_kernel(archive: str, work: str, configs: Sequence[str], *targets: str) -> Kernel:
    """Builds what ``targets`` name in the folder ``work``.

    Args:
        archive: As `prepare` returns it.
        work: Is written to.
        configs: Files with the options that are on; all others are off.
        targets: Of the kernel's makefile.

    Raises:
        CannotBuildError: This kernel does not take the options.
        subprocess.CalledProcessError: A step failed.
    """
    source, objects = (os.path.join(work, name) for name in ("source", "objects"))
    for folder in (source, objects):
        os.mkdir(folder)
    run("tar", "-xf", archive, "-C", source, "--strip-components=1")
    wanted = os.path.join(work, "wanted.config")
    with open(wanted, "w") as file:
        file.writelines(_lines(configs))
    run(
        *(*_make(), "-C", source, f"O={objects}", "allnoconfig"),
        environment={**os.environ, "KCONFIG_ALLCONFIG": wanted},
    )
    _check_config(os.path.join(objects, ".config"), configs)
    run(*_make(), "-C", source, f"O={objects}", *targets)
    return Kernel(os.path.basename(archive), objects)


def _make() -> tuple[str, ...]:
    return ("make", "-s", f"-j{os.cpu_count() or 1}", "ARCH=um")


def _lines(paths: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for path in paths:
        with open(path) as file:
            lines += file
    return lines


def _check_config(path: str, configs: Sequence[str]) -> None:
    """The kernel drops an option whose conditions are not met without a word: say so now."""
    have = {line.strip() for line in _lines([path])}
    want = {line.strip() for line in _lines(configs) if line.startswith("CONFIG_")}
    if dropped := sorted(want - have):
        raise CannotBuildError(f"this kernel's configuration does not take {', '.join(dropped)}")
