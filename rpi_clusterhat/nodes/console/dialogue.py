"""The dialogue with a node's console: state, login, commands and what was said last, as steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import CommandTimeoutError, ConsoleError
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.settings.secret import Secret
from rpi_clusterhat.waiting import Call

from .channel import Channel
from .command import Command, GarbledError
from .login import Login
from .look import CLEAR, INTERRUPT, look
from .screen import Screen, lines_of
from .times import ConsoleTimes, checked
from .watch import watch
from .wire import Answers, shell_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps

    from .line import ConsoleLine
    from .states import ConsoleState
    from .watch import Watched

__all__ = ["Dialogue"]

_T = TypeVar("_T")

_KEEP = 1 << 20
"""Bytes of a command's output that are kept, the newest."""

_OURS = re.compile(r"[RASEX][0-9a-f]{12}(?::\d+)?Z|/bin/sh -c 'o=\$\(stty -g\)|printf 'R%sZ")
"""Lines that are this library's own."""

_BEFORE = (CLEAR, b"", INTERRUPT)
"""What is typed before a command: the second time nothing, for what does not know Ctrl-U."""


class Dialogue:
    """Talks with a node over its console. Each operation is a generator of steps.

    One operation at a time. The line is opened by the first one, and anew by the next one after it has ended.

    Args:
        open_line: Opens the line.
        name: What errors call the console: its path.
        user: Who logs in.
        secret: The user's password, None where the node asks for none.
        times: How long to wait for what.
        clock: Says what time it is.
    """

    def __init__(
        self,
        open_line: Callable[[], ConsoleLine],
        name: str,
        user: str,
        secret: Secret | None = None,
        *,
        times: ConsoleTimes = ConsoleTimes(),  # noqa: B008  # it cannot be changed
        clock: Clock = SYSTEM,
    ) -> None:
        validate.instance("user", user, str, "the name of a user of the node")
        if not re.fullmatch(r"[^\s:\x00-\x1f\x7f]+", user):
            raise validate.invalid("user", user, "the name of a user of the node")
        if secret is not None:
            _check_secret(secret)
        self._open_line = open_line
        self.name = name
        self._user = user
        self._secret = secret
        self.times = checked(times)
        self._clock = clock
        self._channel: Channel | None = None
        self._screen = Screen()
        self._is_in = False
        self._sent: tuple[Answers | None, int] = (None, 0)
        self.has_hung_up = False
        """Whether the line has ended, and was not opened anew."""

    def steps_open(self) -> Steps[Channel]:
        """Opens the line, where it is not open."""
        if self._channel is None:
            self._sent = (None, self._screen.received)
            line: ConsoleLine = yield Call(self._open_line, uninterruptible=True)
            self._channel = Channel(line, self.name, self._clock, self._screen)
            self.has_hung_up = self._is_in = False
        return self._channel

    def steps_look(self, left: Callable[[], float]) -> Steps[ConsoleState]:
        """Finds out the state of the console."""
        deadline = self._clock.now() + left()
        return (yield from self._holding(lambda channel: look(channel, self.times, deadline)))

    def steps_login(self, left: Callable[[], float]) -> Steps[None]:
        """Logs in, unless somebody is logged in."""
        deadline = self._clock.now() + left()
        yield from self._holding(lambda channel: self._log_in(channel, deadline))

    def steps_run(self, command: str | Sequence[str], left: Callable[[], float]) -> Steps[Finished]:
        """Runs a command, and logs in before where it has to."""
        line = shell_line(command)
        seconds = left()
        deadline = self._clock.now() + seconds
        return (yield from self._holding(lambda channel: self._run(channel, line, seconds, deadline)))

    def steps_send(self, command: str | Sequence[str], left: Callable[[], float]) -> Steps[None]:
        """Has a command start, and logs in before where it has to. Its end is not waited for.

        This is for a command that ends the system. The next step is `steps_watch`.
        """
        line = shell_line(command)
        deadline = self._clock.now() + left()

        def start(channel: Channel) -> Steps[None]:
            mark = self._screen.received
            begun = yield from self._start(channel, line, deadline)
            self._sent = (begun.answers, mark)
            self._is_in = False  # who knows what comes then

        yield from self._holding(start)

    def steps_watch(self, left: Callable[[], float], quiet: float) -> Steps[Watched]:
        """Watches the console after `steps_send`, until its node is down as far as it can tell.

        Args:
            left: Returns how many seconds it may take.
            quiet: Seconds without a byte that count as the end.
        """
        deadline = self._clock.now() + left()
        answers, mark = self._sent
        return (yield from self._holding(lambda channel: watch(channel, answers, mark, deadline, quiet)))

    def _run(self, channel: Channel, line: str, seconds: float, deadline: float) -> Steps[Finished]:
        command = yield from self._start(channel, line, deadline)
        answers = command.answers
        try:
            while answers.status is None and not answers.is_over and (left := deadline - channel.now()) > 0:
                yield from command.receive(left)
            if answers.status is None and not answers.is_over:
                yield from self._time_out(command, line, seconds)
            yield from command.leave()
        except BaseException:
            if answers.status is None:
                channel.interrupt_now()
            raise
        if answers.status is None:
            raise ConsoleError(f"{_first_word(line)} has ended on {self.name}, but its exit status was lost")
        return Finished(answers.status, answers.output(), answers.is_complete)

    def _time_out(self, command: Command, line: str, seconds: float) -> Steps[None]:
        last = next((text for text in reversed(command.answers.output().splitlines()) if text.strip()), "")
        is_back = yield from command.stop(self._clock.now() + 2 * self.times.answer)
        if not is_back:
            self._is_in = False
        raise CommandTimeoutError(
            f"{_first_word(line)} did not end within {seconds:.3g} s on {self.name}, "
            + ("and was interrupted" if is_back else "ignores Ctrl-C and Ctrl-\\")
            + (f"; its last line: {self._scrubbed(last)!r}" if last else "")
        )

    def _start(self, channel: Channel, line: str, deadline: float) -> Steps[Command]:
        for before in _BEFORE:
            yield from self._log_in(channel, min(deadline, channel.now() + self.times.login))
            command = Command(channel, self.times, line, _KEEP)
            try:
                yield from command.start(deadline, before)
            except GarbledError:
                self._is_in = False
            except BaseException:
                self._is_in = False
                channel.interrupt_now()
                raise
            else:
                return command
            if channel.now() >= deadline:
                break
        raise ConsoleError(
            f"{_first_word(line)} was not run: what is typed on the console {self.name} does not arrive as "
            f"it was sent; somebody else may type there{self._said()}"
        )

    def _log_in(self, channel: Channel, deadline: float) -> Steps[None]:
        if self._is_in:
            return
        login = Login(channel, self.times, self._user, self._secret, self._last_line)
        yield from login.steps(deadline)
        self._is_in = True

    def _holding(self, work: Callable[[Channel], Steps[_T]]) -> Steps[_T]:
        """Works on the open line, and lets others type after it."""
        channel = yield from self.steps_open()
        try:
            return (yield from work(channel))
        finally:
            if channel.has_hung_up:
                self.has_hung_up = True
                self.close()
            else:
                channel.end_turn()

    def last_lines(self, count: int = 20) -> list[str]:
        """Returns the last lines that the console showed, without the secret, and without empty ones.

        Args:
            count: How many at most.
        """
        kept = self._screen.since(0)
        lines = lines_of(kept)
        if self._screen.received > len(kept):
            del lines[0]  # it begins in the middle, perhaps of a secret
        shown = [self._scrubbed(line.rstrip()) for line in lines if line.strip() and not _OURS.search(line)]
        return shown[-count:] if count > 0 else []

    def _last_line(self) -> str:
        return next(iter(self.last_lines(1)), "")

    def _said(self) -> str:
        line = self._last_line()
        return f"; its last line: {line!r}" if line else ""

    def _scrubbed(self, text: str) -> str:
        secret = "" if self._secret is None else self._secret.reveal()
        return text.replace(secret, "…") if secret else text

    def close(self) -> None:
        """Closes the line. What was said last can still be read."""
        channel, self._channel = self._channel, None
        self._is_in = False
        if channel is not None:
            channel.close()


def _check_secret(secret: object) -> None:
    if not isinstance(secret, Secret):
        # The value is not shown, since it may well be the password.
        raise validate.invalid("secret", type(secret).__name__, "a Secret: Secret('…')")
    text = secret.reveal()
    if not text or not all(char.isprintable() for char in text):
        raise validate.invalid("secret", secret, "a password of printable characters")


def _first_word(line: str) -> str:
    return repr(line.split(maxsplit=1)[0][:40])  # not the arguments, which may be secret
