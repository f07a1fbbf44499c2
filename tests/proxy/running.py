"""A proxy process for tests, and bytes over sockets to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from email.message import Message
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 15.0
"""Seconds after which a test gives up on something that comes at once on any machine."""


class Reply(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Proxy:
    """``clusterhat-proxy`` with options, on the simulation unless they say otherwise, on free ports.

    Quick by default: nodes boot in 0.1 s, 0.05 s apart. ``dev`` has Python look for mistakes, which makes it
    several times slower. ``user`` is who runs it, where root runs the tests.
    """

    def __init__(
        self,
        *options: str,
        sim: bool = True,
        env: dict[str, str] | None = None,
        dev: bool = True,
        user: str | None = None,
        starter: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """starter: a command that becomes the one that follows it, and finds these file descriptors open."""
        argv = [sys.executable, *(["-X", "dev", "-W", "error"] if dev else []), "-m", "clusterhat_proxy"]
        if "--listen" not in options:
            argv += ["--listen", "127.0.0.1:0"]
        if "--admin" not in options:
            argv += ["--admin", "127.0.0.1:0"]
        if sim:
            argv += ["--backend", "sim"]
            argv += [] if "--boot-time" in options else ["--boot-time", "0.1"]
            argv += [] if "--spacing" in options else ["--spacing", "0.05"]
            argv += ["--option", "service=tests.peers.node:Peer"]
        self.argv = [*starter, *argv, *options]
        self._pass_fds = pass_fds
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RPI_CLUSTERHAT_")}
        self._env = {**clean, "RPI_CLUSTERHAT_CONFIG": os.devnull, "PYTHONPATH": str(ROOT), **(env or {})}
        self._identity = {} if user is None else _identity(user)
        self.ports: dict[str, int] = {}
        self.listening: list[tuple[str, str, int]] = []
        """Scheme, host and port of each address that clients may connect to."""
        self.errors = ""
        self._said = b""

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            self.argv,
            env=self._env,
            stdout=pipe,
            stderr=pipe,
            pass_fds=self._pass_fds,
            text=True,
            **self._identity,
        )
        wanted = {"proxy"} if "off" in self.argv else {"proxy", "status"}
        try:
            while not wanted <= self.ports.keys():
                line = self._line()
                found = re.match(r"(proxy|status) on (https?)://(.*):(\d+)/$", line)
                assert found, f"the proxy said {line!r}"
                self.ports[found[1]] = int(found[4])
                if found[1] == "proxy":
                    self.listening.append((found[2], found[3], int(found[4])))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _line(self) -> str:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while b"\n" not in self._said:  # not readline(): what its buffer has, select() does not see
            ready, _, _ = select.select([fd], [], [], PATIENCE)
            data = os.read(fd, 4096) if ready else b""
            if not data:
                _, errors = self.process.communicate(timeout=PATIENCE) if ready else ("", "nothing in time")
                raise AssertionError(f"the proxy did not start: {errors}")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends it. What it wrote to standard error is in ``errors`` then; a traceback fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)  # at once
        try:
            _, self.errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, self.errors = self.process.communicate()
            if exc is None:
                raise AssertionError(f"the proxy does not end: {self.errors}") from None
        except ValueError:  # read already
            pass
        if exc is None:
            assert "Traceback" not in self.errors, self.errors
            assert "Warning" not in self.errors, self.errors

    @property
    def port(self) -> int:
        return self.ports["proxy"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.ports['status']}"

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.admin}/status", timeout=PATIENCE) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def until(self, holds: Callable[[dict[str, Any]], object], seconds: float = PATIENCE) -> dict[str, Any]:
        """The first status for which ``holds(status)`` is true."""
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if holds(status):
                return status
            assert time.monotonic() < end, f"not in {seconds} s: {status}"
            time.sleep(0.02)

    @contextmanager
    def connect(self) -> Generator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            yield connection

    def request(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own, by an ordinary client."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, {"Connection": "close", **(headers or {})})
            with connection.getresponse() as answer:
                return Reply(answer.status, answer.headers, answer.read())

    def ask(self, request: bytes) -> bytes:
        """Everything that comes back for these bytes until the proxy closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return everything(connection)


def _identity(user: str) -> dict[str, Any]:
    """Who a process is, with the groups that the user is in, for `subprocess.Popen`."""
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def everything(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)
