"""Commands on a node by the system's OpenSSH client."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ClosedError, CommandTimeoutError, NodeAccessError
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.waiting import drive, drive_async

from .connection import Connection, Destination
from .conversation import Conversation, read_command
from .host_keys import HostKeys, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from rpi_clusterhat.waiting import Steps

__all__ = ["Ssh"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[\w:][\w.:%-]{0,254}")
_USER = re.compile(r"[\w.][\w.@+-]{0,63}\$?")


class _NotAskedError(NodeAccessError):
    """The connection came to nothing before the node's shell was there to read the command."""


class Ssh:
    """Runs commands on a node by the system's OpenSSH client.

    The first command connects, and the connection is kept for those that follow. It is made again where it
    was lost, and ends with `close`, with the process, or after a minute without a command. It logs in with
    keys and agents: passwords are not used, and nothing is ever asked. Settings of the user's ssh count
    (``~/.ssh/config``), such as ``ProxyJump``.

    The node's host key is pinned at the first contact, under the node's name. A node that has another one
    later is refused.

    Commands are run by the node's ``sh``, whatever the login shell is. They may be run from any thread and
    any event loop, several at once.

    Args:
        host: Host name or address, or a ``Host`` of ssh's settings.
        name: The node's name, such as ``p1``: for texts, and for its host key.
        user: Who logs in; None for whom ssh takes.
        port: From 1 to 65535; None for the one that ssh takes.
        identity: A file with the private key; None for those that ssh takes.
        config: A file with settings for ssh in place of the user's and the system's; ``"none"`` for none.
        folder: Where host keys are kept; None for ``rpi-clusterhat/host-keys`` in ``XDG_STATE_HOME``, which
            is ``~/.local/state`` unless it is set.
        connect_timeout: Seconds for connecting and logging in, and for the node's shell to be there.
        client: The ssh client to run.

    Raises:
        SettingError: An argument is invalid.
    """

    def __init__(
        self,
        host: str,
        *,
        name: str,
        user: str | None = None,
        port: int | None = None,
        identity: str | None = None,
        config: str | None = None,
        folder: str | None = None,
        connect_timeout: float = 10.0,
        client: str = "ssh",
    ) -> None:
        # What these may hold goes no further than what the client's own check allows, since settings such as
        # ProxyCommand hand them to a shell.
        self.name = _matching("name", name, _NAME, "a node's name, such as p1")
        host = _matching("host", host, _HOST, "a host's name or address, without user or port")
        if user is not None:
            _matching("user", user, _USER, "a user's name")
        if port is not None and (type(port) is not int or not 1 <= port <= 65535):
            raise validate.invalid("port", port, "a number from 1 to 65535")
        identity = None if identity is None else plain_path("identity", identity)
        if config not in (None, "none"):
            config = plain_path("config", config)
        self.connect_timeout = validate.seconds("connect_timeout", connect_timeout, above=True)
        self._destination = Destination(self.name, host, user, port, identity, config)
        self._keys = HostKeys(None if folder is None else plain_path("folder", folder), self.name)
        self._connection = Connection(client, self._destination, self._keys, self.connect_timeout)
        self._is_closed = False
        # Also at the end of the process. Not in a fork of it, which has no connection.
        weakref.finalize(self, _close, self._connection)

    def __repr__(self) -> str:
        return f"<Ssh {self.name} at {self._destination.address}>"

    # Commands -------------------------------------------------------------------------------------------

    def run(self, command: str | Sequence[str], *, timeout: float = 60.0) -> Finished:
        """Runs a command, with blocking calls.

        Args:
            command: A line for the node's ``sh``, or words, of which each is an argument as it is. It has
                nothing to read.
            timeout: Seconds for all of it, connecting included.

        Returns:
            Its exit status, and the newest MiB of its output.

        Raises:
            LoginError: The node refused the user or the key.
            HostKeyError: Its host key is not the pinned one.
            CommandTimeoutError: The command did not end in time. It may still be running.
            NodeAccessError: The node was not reached, or the connection was lost. The text says which.
            SettingError: An argument is invalid.
            ClosedError: This was closed.
        """
        return drive(self.steps_run(command, _countdown(timeout)))

    async def arun(self, command: str | Sequence[str], *, timeout: float = 60.0) -> Finished:  # noqa: ASYNC109
        """Runs a command, in the running event loop. Otherwise it is as `run`.

        When it is cancelled, the client here is killed. The command may go on.
        """
        return await drive_async(self.steps_run(command, _countdown(timeout)))

    def steps_run(self, command: str | Sequence[str], left: Callable[[], float]) -> Steps[Finished]:
        """Returns the steps of `run`, for code that is itself a generator of steps.

        Args:
            command: As for `run`.
            left: Returns how many seconds it may take at most, counted from the call of ``left``.
        """
        return self._run(self._read(command), left)

    def _run(self, command: bytes, left: Callable[[], float]) -> Steps[Finished]:
        finished = yield from self._ask(command, left, None)
        if finished is None:
            raise NodeAccessError(
                f"The ssh connection to {self.name} was lost while a command ran there: it may run on"
            )
        return finished

    def send(self, command: str | Sequence[str], *, timeout: float = 60.0) -> Finished | None:
        """Runs a command that may end the connection, such as ``sudo -n poweroff``. Otherwise it is as `run`.

        Returns:
            As `run`; None where the node had the command, and the connection was lost after that.

        Raises:
            NodeAccessError: The node did not get the command.
        """
        return drive(self.steps_send(command, _countdown(timeout)))

    async def asend(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Finished | None:
        """Runs a command that may end the connection, in the running event loop. It is as `send`."""
        return await drive_async(self.steps_send(command, _countdown(timeout)))

    def steps_send(
        self,
        command: str | Sequence[str],
        left: Callable[[], float],
        before: Callable[[], object] | None = None,
    ) -> Steps[Finished | None]:
        """Returns the steps of `send`, for code that is itself a generator of steps.

        Args:
            command: As for `run`.
            left: As for `steps_run`.
            before: Is called when the node's shell waits for the command, right before it is told. What it
                raises is let through, and nothing was told then.
        """
        return self._ask(self._read(command), left, before)

    def _read(self, command: str | Sequence[str]) -> bytes:
        if self._is_closed:
            raise ClosedError(f"{self!r} was closed")
        return read_command(command)

    def _ask(
        self, command: bytes, left: Callable[[], float], before: Callable[[], object] | None
    ) -> Steps[Finished | None]:
        seconds = left()
        deadline = SYSTEM.now() + seconds
        for _ in range(2):
            is_new = yield from self._connection.open(deadline)
            try:
                return (yield from self._talk(command, seconds, deadline, before))
            except _NotAskedError:
                # A connection of before the node's power was cut: a new one is worth a try.
                yield from self._connection.forget()
                if is_new:
                    raise
        raise AssertionError

    def _talk(
        self, command: bytes, seconds: float, deadline: float, before: Callable[[], object] | None
    ) -> Steps[Finished | None]:
        import secrets

        talk = Conversation(command, secrets.token_hex(8))
        began = SYSTEM.now()
        ready_by = min(deadline, began + self.connect_timeout)
        with self._connection.session(talk.line) as client:
            while not talk.is_ready:
                data = yield from client.more(ready_by)
                if not data:
                    talk.end()
                    raise self._not_asked(client.status, talk, SYSTEM.now() - began)
                talk.take(data)
            if before is not None:
                before()
            if not (yield from client.feed(talk.said, deadline)):
                raise self._not_asked(client.status, talk, SYSTEM.now() - began)
            while talk.status is None:
                data = yield from client.more(deadline)
                if not data:
                    break
                talk.take(data)
            else:
                yield from client.ends(SYSTEM.now() + 0.2)  # unless what it started holds on to its output
                return Finished(talk.status, talk.output.text, talk.output.is_complete)
            if client.status is None:
                raise CommandTimeoutError(
                    f"A command on {self.name} did not end within {seconds:.3g} s: it may run on there"
                )
        yield from self._connection.forget()
        return None

    def _not_asked(self, status: int | None, talk: Conversation, seconds: float) -> _NotAskedError:
        said = talk.before.last_line[:300]
        if status is None:
            why = f"its shell was not there within {seconds:.2g} s"
        else:
            why = f"its login shell ended with status {status} and read no command"
        return _NotAskedError(f"{self.name} did not get a command by ssh: {why}{': ' if said else ''}{said}")

    # The connection and the host key --------------------------------------------------------------------

    def forget(self) -> None:
        """Ends the connection, since the node lost its power, say. What still runs in it is lost.

        The next command connects anew.
        """
        drive(self.steps_forget())

    async def aforget(self) -> None:
        """Ends the connection, in the running event loop. It is as `forget`."""
        await drive_async(self.steps_forget())

    def steps_forget(self) -> Steps[None]:
        """Returns the steps of `forget`, for code that is itself a generator of steps."""
        return self._connection.forget()

    def forget_host_key(self) -> None:
        """Forgets the node's host key, since its system was installed anew. The next one is pinned.

        Raises:
            NodeAccessError: The file cannot be removed.
        """
        self._keys.forget()

    def close(self) -> None:
        """Ends the connection for good. It may be called again."""
        self._is_closed = True
        drive(self._connection.close())

    async def aclose(self) -> None:
        """Ends the connection for good, in the running event loop."""
        self._is_closed = True
        await drive_async(self._connection.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _close(connection: Connection) -> None:
    drive(connection.close())


def _countdown(timeout: float) -> Callable[[], float]:
    end = SYSTEM.now() + validate.seconds("timeout", timeout, above=True)
    return lambda: end - SYSTEM.now()


def _matching(name: str, value: Any, pattern: re.Pattern[str], expected: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise validate.invalid(name, value, expected)
