"""Puts together what an emulated Raspberry Pi 3B is made of: QEMU, Debian's kernels for it, and a Python.

python -m tests.pi.machine.building
"""

from __future__ import annotations

import glob
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

from tests.built.once import CANNOT, CannotBuildError, build_once, cached, is_built

from . import cpio
from .packages import TARGETS, Packages, backports, debian_sources, newest_kernels, unpack

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
RECIPE = 1
"""To be counted up with a change of the steps below that makes another machine."""
QEMU_PACKAGE = "qemu-system-arm"
QEMU_NEEDED = 9
"""Since this version QEMU has the I2C controller of the Pi."""
SITE = "usr/lib/python3/dist-packages"
MODULES = ("i2c-dev", "i2c-bcm2835")
EXTRAS = ("gpiod", "i2c")
"""The library's extras whose packages come along."""
WHEELS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")
NOT_NEEDED = (
    "./usr/share/*",
    "./var/*",
    "*/gconv/*",
    "./usr/sbin/*",
    "./sbin/*",
    "*/idlelib/*",
    "*/lib2to3/*",
)


def default_place() -> str:
    """Where the machine of this checkout lies, built or not: another for other inputs."""
    inputs = [
        RECIPE,
        QEMU_PACKAGE,
        MODULES,
        WHEELS,
        NOT_NEEDED,
        _requirements(),
        _release(),
        os.uname().machine,
    ]
    return cached(f"pi-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]}")


def kernels(place: str) -> list[str]:
    """The series of the kernels that there are, such as 6.12; none where nothing is built."""
    found = (os.path.basename(path) for path in glob.glob(f"{place}/kernels/*"))
    return sorted(found, key=lambda series: [int(number) for number in series.split(".")])


def qemu(place: str) -> list[str]:
    """The command that starts QEMU, with the libraries that came with it."""
    (loader,) = (path for path in glob.glob(f"{place}/qemu/usr/lib/*/ld-linux-*.so.*"))
    libraries = os.path.dirname(loader)
    program = f"{place}/qemu/usr/bin/qemu-system-aarch64"
    return [loader, "--library-path", libraries, program, "-L", f"{place}/qemu/usr/share/qemu"]


def _release() -> str:
    try:
        return backports()
    except CannotBuildError:
        return ""


def _requirements() -> list[str]:
    with open(f"{ROOT}/pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    return [requirement for extra in EXTRAS for requirement in extras[extra]]


def make(work: str) -> str:
    """Makes it all from packages. Raises `CannotBuildError`."""
    release = backports()
    native = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout
    machine = Packages(f"{work}/machine", native.strip())
    machine.update()
    sources = debian_sources(
        machine.apt("apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages"), release
    )
    done = f"{work}/done"
    os.mkdir(done)
    here = Packages(f"{work}/here", native.strip(), sources)
    here.update()
    here.fetch(_tree(f"{done}/qemu"), QEMU_PACKAGE, release=release, leave_out=("./usr/share/doc/*",))
    said = _check_qemu(done)
    there = Packages(f"{work}/there", "arm64", sources)
    there.update()
    made_of = {"qemu": said, **_add_kernels(done, there)}
    _add_system(work, done, there, release.removesuffix("-backports"))
    with open(f"{done}/complete", "w", encoding="utf-8") as marker:
        json.dump(made_of, marker, indent=1)
    return done


def _tree(path: str) -> str:
    """A folder whose ``lib`` and the like are links into ``usr``, as in each Debian of today."""
    for name in ("bin", "lib", "lib64", "sbin"):
        os.makedirs(f"{path}/usr/{name}")
        os.symlink(f"usr/{name}", f"{path}/{name}")
    return path


def _check_qemu(done: str) -> str:
    for path in glob.glob(f"{done}/qemu/usr/bin/*"):
        if os.path.basename(path) != "qemu-system-aarch64":
            os.remove(path)
    said = subprocess.run([*qemu(done), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version ((\d+)\S*)", said)
    if version is None or int(version[2]) < QEMU_NEEDED:
        raise CannotBuildError(
            f"QEMU {QEMU_NEEDED} or later is needed, and Debian has {said.splitlines()[0]}"
        )
    return version[1]


def _add_kernels(done: str, packages: Packages) -> dict[str, str]:
    """The newest of each series, with the description of the board and the modules that are not built in."""
    found = packages.apt("apt-cache", "search", "--names-only", r"^linux-image(-[0-9.]+)?-arm64$")
    names = [line.split()[0] for line in found.splitlines()]
    newest = newest_kernels(packages.apt("apt-cache", "show", *names)) if names else {}
    if not newest:
        raise CannotBuildError("apt knows no linux-image-arm64")
    for series, kernel in newest.items():
        tree = f"{packages.folder}/{series}"
        os.mkdir(tree)
        package = packages.download(f"{kernel.package}={kernel.version}")
        modules = (f"*/{name}.ko*" for name in MODULES)
        unpack(package, tree, "./boot/vmlinuz-*", "*/bcm2837-rpi-3-b.dtb", *modules)
        os.remove(package)
        place = f"{done}/kernels/{series}"
        os.makedirs(f"{place}/modules")
        shutil.move(_only(f"{tree}/boot/vmlinuz-*"), f"{place}/kernel")
        shutil.move(_only(f"{tree}/**/bcm2837-rpi-3-b.dtb"), f"{place}/board.dtb")
        for number, name in enumerate(MODULES):
            path = _only(f"{tree}/**/{name}.ko*")
            with lzma.open(path) if path.endswith(".xz") else open(path, "rb") as file:
                data = file.read()
            with open(f"{place}/modules/{number}-{name}.ko", "wb") as file:
                file.write(data)
    return {series: kernel.version for series, kernel in newest.items()}


def _only(pattern: str) -> str:
    (path,) = glob.glob(pattern, recursive=True)
    return path


def _add_system(work: str, done: str, packages: Packages, release: str) -> None:
    """A Python for the Pi with the third-party packages of the backends, as the first part of an initrd."""
    tree = _tree(f"{work}/system")
    packages.fetch(tree, "python3", release=release, leave_out=NOT_NEEDED)
    version = os.path.basename(os.path.realpath(f"{tree}/usr/bin/python3")).removeprefix("python")
    platforms = [word for tag in WHEELS for word in ("--platform", tag)]
    wanted = ("--only-binary=:all:", "--no-deps", "--python-version", version, *platforms, *_requirements())
    downloaded = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "download", "--dest", f"{work}/wheels", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if downloaded.returncode:
        last = (downloaded.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise CannotBuildError(f"the backends' packages cannot be had for arm64: {last}")
    for wheel in glob.glob(f"{work}/wheels/*.whl"):
        zipfile.ZipFile(wheel).extractall(f"{tree}/{SITE}")
    with open(f"{done}/system.cpio", "wb") as file:
        # A Python that starts before there is a /dev needs a source of random numbers.
        file.write(cpio.device("dev/urandom", 1, 9) + cpio.pack(tree))


def main() -> int:
    place = default_place()
    if not is_built(place):
        print(f"building an emulated Raspberry Pi in {place}: a few minutes, once", file=sys.stderr)
    try:
        build_once(place, make)
    except CannotBuildError as error:
        print(f"a Raspberry Pi cannot be emulated here: {error}", file=sys.stderr)
        return CANNOT
    except subprocess.CalledProcessError as error:
        print(f"the emulated Raspberry Pi was not built: {error}", file=sys.stderr)
        return 1
    print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
