"""Builds the lab's kernel: User-Mode Linux from Debian's source package, and the simulated I2C bus."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("i2c_bench",)
RECIPE = 1
"""To be counted up with a change of the steps below that makes another kernel."""

SOURCES = "/usr/src/linux-source-*.tar.xz"
TOOLS = {
    "bc": "bc",
    "bison": "bison",
    "flex": "flex",
    "gcc": "build-essential",
    "make": "build-essential",
    "xz": "xz-utils",
}
CANNOT = 3
"""The exit code where the lab cannot be built on this machine, as opposed to a build that failed."""


class CannotBuildError(Exception):
    """This machine lacks what a build needs; the text says what."""


def default_place() -> str:
    """Where the kernel of this checkout lies, built or not: another for other inputs."""
    if place := os.environ.get("CLUSTERHAT_TEST_LAB"):
        return os.path.abspath(place)
    digest = hashlib.sha256(b"recipe %d" % RECIPE)
    for name in ("kernel.config", *(f"{module}.c" for module in MODULES)):
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return cached(f"kernel-lab-{digest.hexdigest()[:12]}")


def cached(name: str) -> str:
    """A place in the user's cache for what tests build once."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "rpi-clusterhat", name)


def is_built(place: str) -> bool:
    return os.path.exists(os.path.join(place, "complete"))


def build(place: str) -> None:
    """Builds into ``place``. Raises `CannotBuildError` or `subprocess.CalledProcessError`."""
    build_once(place, lambda work: _compile(_prepare(), work))


def build_once(place: str, make: Callable[[str], str]) -> None:
    """Makes ``place``, which appears whole or not at all, unless it is there.

    Args:
        place: A folder. Who comes second waits for the first.
        make: Gets an empty folder to work in, and returns one inside it that holds the file ``complete``.

    Raises:
        CannotBuildError: This machine lacks something, as `make` says.
        subprocess.CalledProcessError: A step failed.
    """
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits and finds it built
        if is_built(place):
            return
        work = f"{place}.building"
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        os.mkdir(work)
        try:
            done = make(work)
            shutil.rmtree(place, ignore_errors=True)
            os.rename(done, place)
        finally:
            shutil.rmtree(work)


def _prepare() -> str:
    """The kernel's source archive, with all tools to build it in place."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotBuildError(f"User-Mode Linux is built on x86-64 Linux only; this is {platform.machine()}")
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
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
        _run("apt-get", "update", "-qq")
    known = subprocess.run(["apt-cache", "show", *packages], capture_output=True, text=True, check=False)
    if known.returncode:
        raise CannotBuildError(f"apt-get knows no {names}: {known.stderr.strip()}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, environment=environment)


def _compile(archive: str, work: str) -> str:
    tree, objects, modules, done = (
        os.path.join(work, name) for name in ("tree", "objects", "modules", "done")
    )
    for folder in (tree, objects, modules, done):
        os.mkdir(folder)
    _run("tar", "-xf", archive, "-C", tree, "--strip-components=1")
    make = ("make", "-s", f"-j{os.cpu_count() or 1}", "ARCH=um")
    wanted = {**os.environ, "KCONFIG_ALLCONFIG": os.path.join(HERE, "kernel.config")}
    _run(*make, "-C", tree, f"O={objects}", "allnoconfig", environment=wanted)
    _check_config(os.path.join(objects, ".config"))
    _run(*make, "-C", tree, f"O={objects}", "linux", "modules")
    for module in MODULES:
        shutil.copy(os.path.join(HERE, f"{module}.c"), modules)
    with open(os.path.join(modules, "Kbuild"), "w") as kbuild:
        kbuild.write("".join(f"obj-m += {module}.o\n" for module in MODULES))
    _run(*make, "-C", objects, f"M={modules}", "modules")
    _run("strip", "-g", os.path.join(objects, "linux"), "-o", os.path.join(done, "linux"))
    for module in MODULES:
        shutil.copy(os.path.join(modules, f"{module}.ko"), done)
    with open(os.path.join(done, "complete"), "w") as marker:
        marker.write(f"{os.path.basename(archive)}\n")
    return done


def _check_config(path: str) -> None:
    """The kernel drops an option whose conditions are not met without a word: say so now."""
    with open(path) as file:
        have = {line.strip() for line in file}
    with open(os.path.join(HERE, "kernel.config")) as file:
        want = {line.strip() for line in file if line.startswith("CONFIG_")}
    if dropped := sorted(want - have):
        raise CannotBuildError(f"this kernel's configuration does not take {', '.join(dropped)}")


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(f"usage: build [FOLDER]   (FOLDER is {default_place()} unless said)", file=sys.stderr)
        return 2
    place = os.path.abspath(arguments[0]) if arguments else default_place()
    if not is_built(place):
        print(f"building the kernel lab in {place}: a few minutes, once", file=sys.stderr)
    try:
        build(place)
    except CannotBuildError as error:
        print(f"the kernel lab cannot be built here: {error}", file=sys.stderr)
        return CANNOT
    except subprocess.CalledProcessError as error:
        print(f"the kernel lab was not built: {error}", file=sys.stderr)
        return 1
    print(place)
    return 0
