"""The connection that all commands of one `Ssh` share: the master of the ssh client."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import HostKeyError, LoginError, NodeAccessError
from rpi_clusterhat.nodes.process import Process, Tail
from rpi_clusterhat.waiting import Pause

from .failures import failure
from .socket_folder import SocketFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rpi_clusterhat.waiting import Steps

    from .host_keys import HostKeys

__all__ = ["Connection", "Destination"]

_PERSIST = 60
"""Seconds after which an unused connection ends by itself, also where its process was killed."""
_ALIVE_INTERVAL = 5
_ALIVE_MOST = 3
"""After so many intervals without a sign of life, a connection to a node that lost its power is given up."""
_SAID_MOST = 16 * 1024
_END_MOST = 2.0


class Destination(Frozen):
    """Where a node is, and as who it is entered."""

    name: str
    host: str
    user: str | None
    port: int | None
    identity: str | None
    config: str | None

    @property
    def address(self) -> str:
        """User and host, as texts name them."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def options(self, seconds: float) -> Sequence[str]:
        """Returns what every call of the client is given but for the host keys. ``seconds``: to connect."""
        settings = (
            "BatchMode=yes",
            f"ConnectTimeout={max(1, round(seconds))}",
            f"ServerAliveInterval={_ALIVE_INTERVAL}",
            f"ServerAliveCountMax={_ALIVE_MOST}",
            "LogLevel=ERROR",
            f"HostKeyAlias={self.name}",
            "GlobalKnownHostsFile=none",
            "HashKnownHosts=no",
            "CheckHostIP=no",
            "VerifyHostKeyDNS=no",
            "UpdateHostKeys=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "EscapeChar=none",
        )
        words = ["-T", *(word for setting in settings for word in ("-o", setting))]
        for option, value in (("-F", self.config), ("-l", self.user), ("-i", self.identity)):
            words += [option, value] if value else []
        if self.port:
            words += ["-p", str(self.port)]
        return [*words, "-o", "IdentitiesOnly=yes"] if self.identity else words


class Connection:
    """Connects when it is needed, and again when the connection was lost. May be used from any thread.

    Args:
        client: The ssh client.
        destination: Whom to connect to.
        keys: The node's pinned host keys.
        timeout: Seconds for connecting and for logging in.
    """

    def __init__(self, client: str, destination: Destination, keys: HostKeys, timeout: float) -> None:
        self._client = client
        self._destination = destination
        self._keys = keys
        self._timeout = timeout
        self._turn = threading.Lock()
        self._folder: SocketFolder | None = None
        self._socket: str | None = None
        after_fork(self, Connection._renew)

    def _renew(self) -> None:
        """In a forked child, which connects by itself."""
        self._turn = threading.Lock()
        if self._folder is not None:
            self._folder.leave()
        self._folder = self._socket = None

    def open(self, deadline: float) -> Steps[bool]:
        """Makes the steps after which there is a connection. Returns whether it is a new one.

        Raises:
            NodeAccessError: There is none.
        """
        while not self._turn.acquire(blocking=False):
            if SYSTEM.now() >= deadline:
                raise self._no_answer("it was still being connected to")
            yield Pause(0.005)
        try:
            if self._socket is not None and _is_listening(self._socket):
                return False
            self._socket = None
            if self._folder is None:
                self._folder = SocketFolder()
            path = self._folder.next_path()
            yield from self._start(path, min(deadline, SYSTEM.now() + self._timeout))
            self._socket = path
            return True
        finally:
            self._turn.release()

    def _start(self, path: str, deadline: float) -> Steps[None]:
        destination = self._destination
        if destination.identity and not os.access(destination.identity, os.R_OK):
            raise LoginError(
                f"{destination.name} was not asked by ssh: the private key {destination.identity} cannot be "
                "read"
            )
        self._keys.prepare()
        arguments = ["-M", "-S", path, "-o", f"ControlPersist={_PERSIST}", "-N"]
        said = Tail(_SAID_MOST)
        with self._process([*self._options(), *arguments, "--", destination.host]) as process:
            while data := (yield from process.more(deadline)):
                said.add(data)
        if process.status is None or process.status < 0:
            raise self._no_answer("no answer in time")
        if process.status:
            raise failure(destination.name, destination.address, destination.port, said.text, self._keys)
        if not self._keys.fingerprints():
            yield from self._end(path)
            raise HostKeyError(
                f"{destination.name}'s ssh host key could not be kept in {self._keys.path}, so nothing was "
                "sent: is the disk full?"
            )

    def _no_answer(self, why: str) -> NodeAccessError:
        destination = self._destination
        return NodeAccessError(
            f"{destination.name} was not reached by ssh at {destination.address}: {why}. It is off, booting, "
            "or its ssh server hangs"
        )

    def session(self, line: str) -> Process:
        """Starts a command in it. Raises `NodeAccessError` where the client cannot be run."""
        path = self._socket or os.devnull
        arguments = ["-S", path, "-o", "ControlMaster=no", "--", self._destination.host, line]
        # What a login shell writes to its standard error may come in the midst of the command's output.
        return self._process([*self._options(), *arguments], errors=False, fed=True)

    def _options(self) -> Sequence[str]:
        # A node that has one pinned key must not show another by offering only one of another type.
        strict = "yes" if self._keys.fingerprints() else "accept-new"
        return [
            *self._destination.options(self._timeout),
            *("-o", f"StrictHostKeyChecking={strict}"),
            *("-o", f'UserKnownHostsFile="{self._keys.path}"'),
        ]

    def _process(self, arguments: Sequence[str], *, errors: bool = True, fed: bool = False) -> Process:
        try:
            return Process([self._client, *arguments], output=True, errors=errors, fed=fed)
        except FileNotFoundError:
            raise NodeAccessError(
                f"{self._destination.name} was not asked by ssh: this controller has no ssh client. "
                "sudo apt install openssh-client"
            ) from None
        except OSError as error:
            raise NodeAccessError(
                f"{self._destination.name} was not asked by ssh: {self._client} cannot be run: "
                f"{error.strerror}"
            ) from error

    def forget(self) -> Steps[None]:
        """Makes the steps that end the connection, and with it what runs in it."""
        path, self._socket = self._socket, None
        if path is not None:
            yield from self._end(path)

    def _end(self, path: str) -> Steps[None]:
        if _is_listening(path):
            with suppress(NodeAccessError):
                arguments = [*self._options(), "-S", path, "-O", "exit", "--", self._destination.host]
                with self._process(arguments) as process:
                    yield from process.ends(SYSTEM.now() + _END_MOST)
        with suppress(OSError):
            os.unlink(path)

    def close(self) -> Steps[None]:
        """Makes the steps that end the connection and leave nothing behind."""
        yield from self.forget()
        folder, self._folder = self._folder, None
        if folder is not None:
            for path in folder.sockets():  # also one whose start was interrupted
                yield from self._end(path)
            folder.remove()


def _is_listening(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)
