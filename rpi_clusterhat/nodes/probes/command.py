"""A probe that runs a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.nodes.process import Process, checked_argv

from .timed import DownError, TimedProbe, describe

if TYPE_CHECKING:
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
        self.argv = checked_argv(argv, "CommandProbe('ssh', 'p1.local', 'true')")

    @property
    def target(self) -> str:
        """The command, as the probe's reasons name it."""
        return repr(self.argv[0])  # not the arguments, which may be secret

    def _answer(self, deadline: float) -> Steps[str]:
        try:
            process = Process(self.argv)
        except OSError as error:
            raise DownError(f"{self.target} cannot be run: {describe(error)}") from error
        with process:
            if not (yield from process.ends(deadline)):
                raise TimeoutError
        if process.status:
            how = "status" if process.status > 0 else "signal"
            raise DownError(f"{self.target} ended with {how} {abs(process.status)}")
        return f"{self.target} ended with status 0"
