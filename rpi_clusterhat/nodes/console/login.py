"""The steps that log in on a node's console."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ConsoleError, LoginError

from .look import CLEAR, ENTER, INTERRUPT, look, rest
from .prompts import asks_for_new_password, state_of, timed_out
from .states import ConsoleState
from .wire import is_left_behind, typed_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.settings.secret import Secret
    from rpi_clusterhat.waiting import Steps

    from .channel import Channel
    from .times import ConsoleTimes

__all__ = ["Login", "new_token"]

_END = b"\x04"
"""Ctrl-D: leaves a login that cannot be completed."""

_MOST_PROMPTS = 3
"""How often a login prompt may come again without a password having been asked for."""

_SLOWER = 2.0
"""How much longer than on other answers is waited on those of a login."""

_WHY = {
    ConsoleState.SILENT: "nothing answers on the console {name}: "
    "its node has no power or no system yet, or nothing serves the console",
    ConsoleState.BOOTING: "the node of the console {name} has not come to its login prompt: it still boots",
    ConsoleState.BUSY: "the console {name} has no prompt: a program runs there, or its output does not end",
    ConsoleState.PASSWORD: "something on the console {name} asks for a password, "
    "and goes on when it is given none",
    ConsoleState.SHELL: "the console {name} has a prompt, but no shell answers there",
}


def new_token() -> str:
    """Returns random letters and digits, which no output has in it by chance."""
    return os.urandom(6).hex()


class Login:
    """Brings a console to the prompt of a shell.

    Args:
        channel: The console.
        times: How long to wait for what.
        user: Who logs in.
        secret: The password, None for a user who is not asked for one.
        last_line: Returns the last line of the console, as errors may show it.
    """

    def __init__(
        self,
        channel: Channel,
        times: ConsoleTimes,
        user: str,
        secret: Secret | None,
        last_line: Callable[[], str],
    ) -> None:
        self._channel = channel
        self._times = times
        self._user = user
        self._secret = secret
        self._last_line = last_line

    def steps(self, deadline: float) -> Steps[None]:
        """Logs in, unless somebody is logged in already.

        Raises:
            LoginError: The node refuses the user or the secret.
            ConsoleError: There is no login prompt until the deadline.
        """
        channel, times = self._channel, self._times
        busy = 0
        prompts = 0
        while True:
            state = yield from look(channel, times, min(deadline, channel.now() + times.look))
            if state is ConsoleState.EMERGENCY:
                raise ConsoleError(
                    f"the node of the console {channel.name} did not boot: "
                    f"it is in an emergency shell or has panicked{self._said()}"
                )
            if state is ConsoleState.LOGIN:
                if (yield from self._name(deadline)):
                    return
                prompts += 1
                if prompts == _MOST_PROMPTS - 1 and (yield from self.is_shell(deadline)):
                    return  # a shell whose prompt looks like a login's
                if prompts == _MOST_PROMPTS or channel.now() >= deadline:
                    raise LoginError(
                        f"{channel.name} does not let the user {self._user!r} in, "
                        f"but asks for a user again{self._said()}"
                    )
            if state is ConsoleState.BUSY and is_left_behind(channel.screen.lines()):
                yield from self._type(INTERRUPT, deadline)
                continue
            busy = busy + 1 if state is ConsoleState.BUSY else 0
            # A prompt may be empty; but what is typed could also be the name at a prompt that is yet to come.
            if (state is ConsoleState.SHELL or busy == 2) and (yield from self.is_shell(deadline)):
                return
            if channel.now() >= deadline:
                raise ConsoleError(f"{_WHY[state].format(name=channel.name)}{self._said()}")

    def is_shell(self, deadline: float) -> Steps[bool]:
        """Finds out whether a shell runs what is typed."""
        channel, times = self._channel, self._times
        for before in (CLEAR, b"", INTERRUPT):
            token = new_token()
            typed, answer = typed_check(token)
            mark = channel.screen.received
            yield from channel.send(before + typed, min(deadline, channel.now() + times.turn))
            end = min(deadline, channel.now() + 4 * times.answer)
            quiet_since = channel.now()
            while (now := channel.now()) < min(end, quiet_since + times.answer):
                if (yield from channel.receive(min(end, quiet_since + times.answer) - now)):
                    quiet_since = channel.now()
                    if answer in channel.screen.since(mark):
                        yield from channel.settle(min(0.05, times.quiet), min(deadline, channel.now() + 0.5))
                        return True
            # Ctrl-C ends what is half typed, such as an open quotation mark, and could end a program.
            if state_of(channel.screen.lines(mark)) is not ConsoleState.SHELL:
                return False
        return False

    def _name(self, deadline: float) -> Steps[bool]:
        """Gives the user at a login prompt. Returns False where it has to be looked at again."""
        mark = self._channel.screen.received
        yield from self._type(self._user.encode() + ENTER, deadline)
        state = yield from self._rest(mark, deadline, after_user=True)
        if state is ConsoleState.PASSWORD:
            return (yield from self._password(deadline))
        return state is ConsoleState.SHELL and (yield from self.is_shell(deadline))

    def _password(self, deadline: float) -> Steps[bool]:
        """Gives the secret at a password prompt that has come after the user and stands still."""
        channel = self._channel
        if self._secret is None:
            yield from self._type(_END, deadline)
            raise LoginError(
                f"{channel.name} asks for the password of the user {self._user!r}, and no secret is set"
            )
        mark = channel.screen.received
        yield from self._type(self._secret.reveal().encode() + ENTER, deadline)
        state = yield from self._rest(mark, deadline)
        lines = channel.screen.lines(mark)
        said = self._said()
        if state is ConsoleState.LOGIN and timed_out(lines):
            return False
        if state is ConsoleState.PASSWORD:
            yield from self._type(_END, deadline)
            why = (
                "wants the password to be changed: log in by hand and change it"
                if asks_for_new_password(lines)
                else "asks for another password or code after the secret"
            )
            raise LoginError(f"{channel.name}, logging in the user {self._user!r}, {why}{said}")
        if state is not ConsoleState.LOGIN and (yield from self.is_shell(deadline)):
            return True
        raise LoginError(f"{channel.name} refused the user {self._user!r} or the secret{said}")

    def _rest(self, mark: int, deadline: float, *, after_user: bool = False) -> Steps[ConsoleState | None]:
        # A login that works takes its time without a word: the program comes from a card that is busy.
        return (
            yield from rest(
                self._channel,
                self._times,
                mark,
                deadline,
                _SLOWER * self._times.answer,
                after_user=after_user,
            )
        )

    def _type(self, data: bytes, deadline: float) -> Steps[None]:
        yield from self._channel.send(data, min(deadline, self._channel.now() + self._times.turn))

    def _said(self) -> str:
        line = self._last_line()
        return f"; its last line: {line!r}" if line else ""
