"""A copy of this machine's root, made by `copied_root`, as tests use it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

COMMAND = str(Path(sys.executable).with_name("rpi-clusterhat"))
LOCKS = "/run/rpi-clusterhat"


class Copy:
    """The copy, seen from outside."""

    def __init__(self, pid: int) -> None:
        self.root = f"/proc/{pid}/root"

    def start(self, *argv: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RPI_", "SUDO_"))}
        out, err = subprocess.PIPE, subprocess.PIPE
        command = ["chroot", self.root, *argv]
        return subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, text=True, env=env)

    def run(self, *argv: str) -> tuple[int, str, str]:
        with self.start(*argv) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

    def run_as(self, user: str, *argv: str) -> tuple[int, str, str]:
        return self.run("setpriv", "--reuid", user, "--regid", user, "--init-groups", *argv)

    def lock_folder(self) -> tuple[str, int, int]:
        """Its group, its mode, and its owner."""
        found = os.stat(self.root + LOCKS, follow_symlinks=False)
        assert stat.S_ISDIR(found.st_mode)
        return self.group(found.st_gid), stat.S_IMODE(found.st_mode), found.st_uid

    def group(self, number: int) -> str:
        return next(line.split(":")[0] for line in self.groups() if line.split(":")[2] == str(number))

    def groups(self) -> list[str]:
        return Path(self.root, "etc/group").read_text(encoding="utf-8").splitlines()

    def members(self, name: str) -> list[str]:
        return next(line for line in self.groups() if line.startswith(f"{name}:")).split(":")[3].split(",")


@contextmanager
def copies(folder: Path) -> Generator[Callable[..., Copy]]:
    running: list[subprocess.Popen[str]] = []

    def make(*options: str) -> Copy:
        place = folder / f"root{len(running)}"
        place.mkdir()
        command = ["unshare", "--mount", "--propagation", "private", sys.executable]
        process = subprocess.Popen(
            [*command, str(Path(__file__).with_name("copied_root.py")), str(place), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            _, err = process.communicate(timeout=60)
            pytest.skip(f"no mount namespace to be had here: {err.strip()[-200:]}")
        return Copy(process.pid)

    try:
        yield make
    finally:
        for process in running:
            process.communicate(timeout=60)
