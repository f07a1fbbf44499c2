"""A probe that runs a command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat import validate

from .timed import DownError, TimedProbe, describe, happens

if TYPE_CHECKING:
    import subprocess

    from rpi_clusterhat.waiting import Steps


class CommandProbe(TimedProbe):
    """The node is up when a command ends with status 0.

    The command runs without a shell, reads nothing, and its output is dropped. At its time-out, or when the
    asking is cancelled, it is killed with all of its process group.

    Args:
        argv: The command and its arguments.
        timeout: How many seconds the command may run.

    Raises:
        SettingError: There is no command, or an argument is invalid.
    """

    __slots__ = ("argv",)

    def __init__(self, *argv: str, timeout: float = 5.0) -> None:
        super().__init__(timeout)
        if not argv or not argv[0] or not all(_is_word(word) for word in argv):
            raise validate.invalid(
                "argv",
                argv,
                "a command and its arguments, each a text of its own without NUL: "
                "CommandProbe('ssh', 'p1.local', 'true')",
            )
        self.argv = argv

    @property
    def target(self) -> str:
        """The command, as the probe's reasons name it."""
        return repr(self.argv[0])  # not the arguments, which may be secret

    def _answer(self, deadline: float) -> Steps[str]:
        import subprocess

        nothing = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                self.argv, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
            )
        except OSError as error:
            raise DownError(f"{self.target} cannot be run: {describe(error)}") from error
        try:
            ended = yield from happens(lambda: process.poll() is not None, deadline)
        finally:
            _kill(process)
        if not ended:
            raise TimeoutError
        if process.returncode:
            how = "status" if process.returncode > 0 else "signal"
            raise DownError(f"{self.target} ended with {how} {abs(process.returncode)}")
        return f"{self.target} ended with status 0"


def _is_word(word: object) -> bool:
    return isinstance(word, str) and "\0" not in word


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its group, which is its own, unless it has ended."""
    if process.returncode is not None:
        return
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:  # it runs as another user by now: neither to be killed nor to be waited for
        return
    process.wait()
