"""A hook that runs a command on the controller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.errors import NodeAccessError
from rpi_clusterhat.nodes.process import Process, Tail, checked_argv, is_word

from .hook import Hook, RefusedError, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.waiting import Steps

__all__ = ["CommandHook"]

_OUTPUT_MOST = 16 * 1024
_SHOWN_MOST = 300


class CommandHook(Hook):
    """Runs a command on the controller, with fields of the node filled into its words.

    ``CommandHook("halt-node", "{name}", "--at={host}")`` is what halts a node that has neither a console nor
    ssh. Each word is one argument whatever is filled in, since no shell reads them. The command has nothing
    to read. At its time-out, or when the asking is cancelled, it is killed with all of its process group.

    Exit status 0 means that it is done, or that it may be done; 1 that it may not, for the reason in the last
    line of its output. Each other status is an error.

    Args:
        argv: The command and its arguments, with ``{name}``, ``{host}`` and ``{number}`` for the node's.
        timeout: How many seconds the command may run.

    Raises:
        SettingError: There is no command, or an argument is invalid.
    """

    __slots__ = ("_words", "argv")

    def __init__(self, *argv: str, timeout: float = 10.0) -> None:
        super().__init__(timeout)
        self.argv = checked_argv(argv, "CommandHook('halt-node', '{name}')")
        self._words = [Template("argv", word) for word in argv]

    @property
    def target(self) -> str:
        """The command, as texts name it."""
        return repr(self.argv[0])  # not the arguments, which may be secret

    def _answer(self, fields: Mapping[str, str | int], deadline: float) -> Steps[None]:
        words = [word.filled(fields) for word in self._words]
        if not all(is_word(word) for word in words):
            raise validate.invalid("fields", dict(fields), "texts without NUL")
        try:
            process = Process(words, output=True)
        except OSError as error:
            text = error.strerror or str(error)
            raise NodeAccessError(f"{self.target} cannot be run: {text[:1].lower()}{text[1:]}") from error
        output = Tail(_OUTPUT_MOST)
        with process:
            while data := (yield from process.more(deadline)):
                output.add(data)
            if process.status is None:
                raise TimeoutError
        if process.status:
            said = output.last_line[:_SHOWN_MOST]
            if process.status == 1:
                raise RefusedError(said or f"{self.target} says so")
            how = "status" if process.status > 0 else "signal"
            raise NodeAccessError(
                f"{self.target} ended with {how} {abs(process.status)}{': ' if said else ''}{said}"
            )
