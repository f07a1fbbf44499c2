"""Builds the lab's kernel, and the simulated I2C bus.

python -m tests.kernel.lab.building [FOLDER]
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys

from tests.built.kernel import compile_kernel, prepare
from tests.built.once import build_once, build_or_say_why, cached

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "kernel.config")
MODULES = ("i2c_bench",)
RECIPE = 1
"""To be counted up with a change of the steps below that makes another kernel."""


def default_place() -> str:
    """Where the kernel of this checkout lies, built or not: another for other inputs."""
    if place := os.environ.get("CLUSTERHAT_TEST_LAB"):
        return os.path.abspath(place)
    digest = hashlib.sha256(b"recipe %d" % RECIPE)
    for name in ("kernel.config", *(f"{module}.c" for module in MODULES)):
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return cached(f"kernel-lab-{digest.hexdigest()[:12]}")


def build(place: str) -> None:
    """Builds into ``place``. Raises `CannotBuildError` or `subprocess.CalledProcessError`."""
    build_once(place, make)


def make(work: str) -> str:
    """Builds in the folder ``work``. Raises as `build` does."""
    kernel = compile_kernel(prepare(), work, [CONFIG], "linux", "modules")
    modules, done = (os.path.join(work, name) for name in ("modules", "done"))
    for folder in (modules, done):
        os.mkdir(folder)
    for module in MODULES:
        shutil.copy(os.path.join(HERE, f"{module}.c"), modules)
    with open(os.path.join(modules, "Kbuild"), "w") as kbuild:
        kbuild.write("".join(f"obj-m += {module}.o\n" for module in MODULES))
    kernel.build_modules(modules)
    kernel.install(os.path.join(done, "linux"))
    for module in MODULES:
        shutil.copy(os.path.join(modules, f"{module}.ko"), done)
    with open(os.path.join(done, "complete"), "w") as marker:
        marker.write(f"{kernel.source}\n")
    return done


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(f"usage: building [FOLDER]   (FOLDER is {default_place()} unless said)", file=sys.stderr)
        return 2
    place = os.path.abspath(arguments[0]) if arguments else default_place()
    return build_or_say_why("the kernel lab", place, make)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
