"""A real sshd on loopback, an ordinary process with keys and settings of its own.

Tests that need it are skipped where it is not installed, unless CLUSTERHAT_TEST_REQUIRE_CLIENTS=1.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.nodes.ssh import Ssh
from tests.nodes.servers import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

USER = pwd.getpwuid(os.geteuid()).pw_name


def needed(program: str, package: str) -> str:
    """The path of a program that the calling test needs."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        missing = f"no {program}: apt-get install {package}"
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_CLIENTS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def eventually(is_so: Callable[[], Any]) -> None:
    end = SYSTEM.now() + LONG
    while not is_so():
        assert SYSTEM.now() < end
        SYSTEM.sleep(0.01)


def new_key(path: Path, kind: str = "ed25519") -> Path:
    ssh_keygen = needed("ssh-keygen", "openssh-client")
    subprocess.run([ssh_keygen, "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


def descendants(pid: int) -> list[int]:
    """A process with all below it, each before its children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            child, _, rest = stat.read_text().partition(" ")
            children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(int(child))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def clients(folder: Path) -> dict[int, str]:
    """The command lines of the processes that have to do with a socket in this folder."""
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().decode(errors="replace").replace("\0", " ")
            if str(folder) in line:
                found[int(path.parent.name)] = line
    return found


class Sshd:
    """Takes logins of the user who runs the tests, with one key.

    Args:
        folder: For its files.
        settings: Lines of its own for its settings.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self._program = needed("sshd", "openssh-server")
        needed("ssh", "openssh-client")
        if os.geteuid() == 0:  # it wants this folder then, which the distribution's service makes
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.folder = folder
        self.identity = new_key(folder / "identity")
        self.host_key = new_key(folder / "host_key")
        self._settings = settings
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def logins(self) -> int:
        return self.log.count("Accepted publickey")

    def start(self) -> None:
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.identity}.pub",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "PidFile none",
            "PrintMotd no",
            *self._settings,
        ]
        settings = self.folder / "sshd_config"
        settings.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-D", "-e", "-f", settings], stderr=log)
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def pids(self) -> list[int]:
        assert self._process is not None
        return descendants(self._process.pid)

    def signal(self, number: int, pids: list[int] | None = None) -> None:
        for pid in self.pids if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Ends it with all that runs in it."""
        if self._process is not None:
            pids = self.pids
            self.signal(signal.SIGSTOP, pids)  # nothing new meanwhile
            self.signal(signal.SIGKILL, self.pids)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ssh(self, keys: Path, **more: Any) -> Ssh:
        settings: dict[str, Any] = {
            "name": "p1",
            "port": self.port,
            "identity": str(self.identity),
            "config": "none",
            "folder": str(keys),
            "connect_timeout": LONG,
        }
        return Ssh("127.0.0.1", **{**settings, **more})
