"""The steps that have a command run in the shell on a console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ConsoleError

from .login import new_token
from .look import CLEAR
from .wire import Answers, Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps

    from .channel import Channel
    from .times import ConsoleTimes

__all__ = ["Command", "GarbledError"]

_STOPS = (b"\x03", b"\x1c")
"""Ctrl-C and Ctrl-\\, for a command that does not end."""

_SENT_AGAIN = 5
"""How many pieces are sent again at most."""


class GarbledError(Exception):
    """Something was lost or added on the way, or nobody answered. The command has not begun."""


class Command:
    """One command, from its question to its end.

    Args:
        channel: The console, at the prompt of a shell.
        times: How long to wait for what.
        line: The command, a line for a shell.
        keep: How many bytes of its output are kept.
    """

    def __init__(self, channel: Channel, times: ConsoleTimes, line: str, keep: int) -> None:
        self._channel = channel
        self._times = times
        token = new_token()
        self._question = Question(line, token)
        self.answers = Answers(token, keep)

    def start(self, deadline: float, before: bytes = CLEAR) -> Steps[None]:
        """Sends it, until it has started.

        Args:
            deadline: When to give up.
            before: What to type first.

        Raises:
            GarbledError: It has not begun, and may be sent again.
            ConsoleError: It is not known whether it has begun.
        """
        channel, answers, question = self._channel, self.answers, self._question
        yield from self._type(before + question.opening, deadline)
        yield from self._await(lambda: answers.is_ready, deadline)
        if not answers.is_ready:
            raise GarbledError
        yield from self._type(question.script, deadline)
        is_sent = False
        for _ in range(len(question.pieces) + _SENT_AGAIN):
            yield from self._await(lambda: bool(answers.asked) or answers.has_begun, deadline)
            number = answers.asked.pop() if answers.asked else len(question.pieces)
            answers.asked.clear()
            if answers.has_begun or number >= len(question.pieces):
                break
            is_sent = number == len(question.pieces) - 1
            yield from self._type(question.pieces[number], deadline)
        if answers.has_started or answers.status is not None:
            return
        if not is_sent:
            yield from self.stop(channel.now() + self._times.answer)
            raise GarbledError
        yield from self.stop(channel.now() + 2 * self._times.answer)
        raise ConsoleError(
            f"it is not known whether the command ran: {channel.name} did not confirm its start"
        )

    def receive(self, seconds: float) -> Steps[bool]:
        """Reads once. Returns whether something came."""
        data = yield from self._channel.receive(seconds)
        self.answers.feed(data)
        return bool(data)

    def leave(self) -> Steps[None]:
        """Reads on after its end, until the shell is back at its prompt."""
        end = self._channel.now() + self._times.answer
        while not self.answers.is_over and (left := end - self._channel.now()) > 0:
            yield from self.receive(left)
        quiet = min(0.05, self._times.quiet)
        if (yield from self._channel.receive(self._times.quiet)):
            yield from self._channel.settle(quiet, self._channel.now() + self._times.quiet)

    def stop(self, deadline: float) -> Steps[bool]:
        """Interrupts it. Returns whether the shell is back."""
        begin = self._channel.now()
        for number, keys in enumerate(_STOPS, 1):
            yield from self._type(keys, deadline)
            end = begin + (deadline - begin) * number / len(_STOPS)
            while not self.answers.is_over and (left := end - self._channel.now()) > 0:
                yield from self.receive(left)
            if self.answers.is_over:
                return True
        return False

    def _await(self, is_so: Callable[[], bool], deadline: float) -> Steps[None]:
        """Reads until something is so, nothing comes any more, or the time is over."""
        answer = self._times.answer
        began = heard = self._channel.now()
        while not is_so():
            end = min(deadline, began + 6 * answer, heard + answer)
            if (left := end - self._channel.now()) <= 0:
                return
            if (yield from self.receive(left)):
                heard = self._channel.now()

    def _type(self, data: bytes, deadline: float) -> Steps[None]:
        yield from self._channel.send(data, min(deadline, self._channel.now() + self._times.turn))
