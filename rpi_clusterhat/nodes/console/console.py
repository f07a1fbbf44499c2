"""A node's console for programs: with blocking calls, and in an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import drive, drive_async

from .dialogue import Dialogue
from .times import ConsoleTimes
from .wire import shell_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rpi_clusterhat.nodes.finished import Finished
    from rpi_clusterhat.settings.secret import Secret
    from rpi_clusterhat.waiting import Steps

    from .line import ConsoleLine
    from .states import ConsoleState

__all__ = ["AsyncConsole", "Console"]

_T = TypeVar("_T")


class _Base:
    """What both consoles have in common."""

    def __init__(
        self,
        path: str,
        user: str,
        secret: Secret | None = None,
        *,
        times: ConsoleTimes = ConsoleTimes(),  # noqa: B008  # it cannot be changed
    ) -> None:
        expected = "the device of a node's console, such as /dev/ttypi1"
        validate.instance("path", path, str, expected)
        if not path or "\0" in path:
            raise validate.invalid("path", path, expected)
        self.path = path
        self.dialogue = Dialogue(self._open_line, path, user, secret, times=times)
        """The same as steps, for code that is itself a generator of steps."""

    def _open_line(self) -> ConsoleLine:
        from .line import open_line

        return open_line(self.path)

    def last_lines(self, count: int = 20) -> list[str]:
        """Returns the last lines that the console showed while it was read.

        They are plain text. Empty lines are left out, and an ellipsis is where the secret would be. They stay
        when the console is closed.

        Args:
            count: How many lines at most.
        """
        return self.dialogue.last_lines(count)

    @property
    def has_hung_up(self) -> bool:
        """Whether the node's end of the line went away, as with its power. The next call opens it anew."""
        return self.dialogue.has_hung_up

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def _run(self, command: str | Sequence[str], timeout: float | None) -> Steps[Finished]:
        seconds = (
            self.dialogue.times.command
            if timeout is None
            else validate.seconds("timeout", timeout, above=True)
        )
        shell_line(command)  # before anything is typed
        yield from self.dialogue.steps_login(lambda: self.dialogue.times.login)
        return (yield from self.dialogue.steps_run(command, lambda: seconds))


class Console(_Base):
    """A node's console, with blocking calls.

    It is opened by the first call or ``with``, and no other program may have it open. Any thread may call,
    one at a time: the others wait.

    Args:
        path: The serial device: ``/dev/ttypi1`` is node p1's.
        user: Who logs in.
        secret: The user's password, None where the node asks for none.
        times: How long to wait for what.

    Raises:
        SettingError: An argument is invalid.
    """

    def __init__(
        self,
        path: str,
        user: str,
        secret: Secret | None = None,
        *,
        times: ConsoleTimes = ConsoleTimes(),  # noqa: B008  # it cannot be changed
    ) -> None:
        import threading

        super().__init__(path, user, secret, times=times)
        self._turn = threading.RLock()

    def look(self) -> ConsoleState:
        """Finds out what the console is doing.

        Where it shows no prompt by itself, Enter is typed, up to three times. At a password prompt that means
        an empty password. What somebody has left half typed is taken away before, so that it does not run.

        Returns:
            The state. It takes no longer than ``times.look``.

        Raises:
            ConsoleBusyError: Another program has the console open. The text names it.
            ConsoleError: The console cannot be opened, or hung up.
        """
        return self._drive(self.dialogue.steps_look(lambda: self.dialogue.times.look))

    def login(self) -> None:
        """Logs in. Where somebody is logged in, that login is used, whoever it is.

        A boot that goes on is waited for, and so is a login prompt that is not there yet. The secret is sent
        after the user, at a prompt that ends in a colon and stands still, and nowhere else.

        Raises:
            LoginError: The node refused the user or the secret, or wants the password to be changed.
            ConsoleBusyError: Another program has the console open. The text names it.
            ConsoleError: The console cannot be opened or hung up, or no prompt came within ``times.login``.
        """
        self._drive(self.dialogue.steps_login(lambda: self.dialogue.times.login))

    def run(self, command: str | Sequence[str], timeout: float | None = None) -> Finished:
        """Runs a command, and logs in before where nobody is logged in.

        The command runs in a ``/bin/sh`` of its own, whatever the login shell is. It reads nothing, and its
        output is no terminal. Messages of the node's kernel may stand in its output, since they come over the
        same line. Control sequences are removed from it, and of a line that was overwritten its last state is
        returned.

        Args:
            command: A line for a shell, or words, each of which reaches the command as it is.
            timeout: How many seconds it may take; None for ``times.command``. A login before it has its own
                time. It is then interrupted with Ctrl-C, and where that does not help with Ctrl-\\.

        Returns:
            Its exit status, and the newest MiB of its output.

        Raises:
            SettingError: The command is empty, has a NUL in it, or is longer than 64 KiB.
            CommandTimeoutError: It did not end in time. The text has its last line.
            LoginError: See `login`.
            ConsoleError: See `login`; or the node hung up, or somebody else typed in between.
        """
        return self._drive(self._run(command, timeout))

    def close(self) -> None:
        """Closes the console. Who is logged in stays logged in. It may be called again."""
        with self._turn:
            self.dialogue.close()

    def _drive(self, steps: Steps[_T]) -> _T:
        with self._turn:
            return drive(steps, SYSTEM)

    def __enter__(self) -> Self:
        self._drive(self.dialogue.steps_open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncConsole(_Base):
    """A node's console, in an event loop. It is otherwise as `Console`: tasks call, one at a time.

    A call that is cancelled interrupts its command with Ctrl-C, and does not wait for its end.

    Args:
        path: The serial device: ``/dev/ttypi1`` is node p1's.
        user: Who logs in.
        secret: The user's password, None where the node asks for none.
        times: How long to wait for what.

    Raises:
        SettingError: An argument is invalid.
    """

    def __init__(
        self,
        path: str,
        user: str,
        secret: Secret | None = None,
        *,
        times: ConsoleTimes = ConsoleTimes(),  # noqa: B008  # it cannot be changed
    ) -> None:
        import asyncio

        super().__init__(path, user, secret, times=times)
        self._turn = asyncio.Lock()

    async def look(self) -> ConsoleState:
        """Finds out what the console is doing. See `Console.look`."""
        return await self._drive(self.dialogue.steps_look(lambda: self.dialogue.times.look))

    async def login(self) -> None:
        """Logs in. See `Console.login`."""
        await self._drive(self.dialogue.steps_login(lambda: self.dialogue.times.login))

    async def run(
        self,
        command: str | Sequence[str],
        timeout: float | None = None,  # noqa: ASYNC109  # after it the command is interrupted
    ) -> Finished:
        """Runs a command, and logs in before where nobody is logged in. See `Console.run`."""
        return await self._drive(self._run(command, timeout))

    def close(self) -> None:
        """Closes the console. Who is logged in stays logged in. It may be called again."""
        self.dialogue.close()

    async def _drive(self, steps: Steps[_T]) -> _T:
        async with self._turn:
            return await drive_async(steps, SYSTEM)

    async def __aenter__(self) -> Self:
        await self._drive(self.dialogue.steps_open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
