"""The ways to halt a node that is a computer: over its console, by ssh, and through hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import NodeAccessError
from rpi_clusterhat.nodes.console.watch import Ending
from rpi_clusterhat.nodes.finished import Finished

from .way import HaltWay, Sighting, Sign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.nodes.console.console import Console
    from rpi_clusterhat.nodes.console.watch import Watched
    from rpi_clusterhat.nodes.hooks import Hook
    from rpi_clusterhat.nodes.ssh import Ssh
    from rpi_clusterhat.waiting import Steps

__all__ = ["ConsoleEndSign", "ConsoleWay", "HookWay", "SshWay"]

_COMMAND_MOST = 20.0
"""Seconds for the command, which only asks for the halt."""
_REFUSAL_WITHIN = 2.0
"""Seconds in which a command that may not halt the node has said so: chosen, not measured."""
_GLANCE = 0.02


class ConsoleWay(HaltWay):
    """Logs in on the node's console and runs a command there.

    Args:
        console: Makes the console; called for each halt.
        command: The command, as the node's shell reads it.
    """

    name = "console"

    def __init__(self, console: Callable[[], Console], command: str) -> None:
        self._make = console
        self._command = command
        self._console: Console | None = None
        self._was_told = False
        self._end: Sighting | None = None

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        self.close()
        self._console = self._make()
        dialogue = self._console.dialogue
        yield from dialogue.steps_login(lambda: min(left(), dialogue.times.login))
        go()
        yield from dialogue.steps_send(self._command, lambda: min(left(), _COMMAND_MOST))
        watched = yield from dialogue.steps_watch(lambda: min(left(), _REFUSAL_WITHIN), _REFUSAL_WITHIN)
        self._note(watched)
        if watched.ending is Ending.FAILED:
            _check(Finished(watched.status or 1, watched.words), self._command)
        self._was_told = True

    def look(self) -> Steps[Sighting | None]:
        """Makes the steps that look for the console's end, or for its last words, once the node was told."""
        if self._was_told and self._end is None and self._console is not None:
            self._note((yield from self._console.dialogue.steps_watch(lambda: _GLANCE, _GLANCE)))
        return self._end

    def _note(self, watched: Watched) -> None:
        if watched.ending is Ending.HUNG_UP:
            self._end = Sighting(True, "its console hung up")
        elif watched.ending is Ending.LAST_WORDS:
            self._end = Sighting(True, f"its console said {watched.words!r}")

    def close(self) -> None:
        console, self._console = self._console, None
        self._was_told, self._end = False, None
        if console is not None:
            console.close()


class ConsoleEndSign(Sign):
    """The console over which the node was told: it hangs up, or the node's system says its last words.

    Args:
        way: What has the console open.
    """

    def __init__(self, way: ConsoleWay) -> None:
        self._way = way

    def begin(self) -> Steps[bool]:
        yield from ()
        return True

    def look(self) -> Steps[Sighting | None]:
        return self._way.look()


class SshWay(HaltWay):
    """Runs a command on the node by ssh.

    Args:
        ssh: The node's.
        command: The command, as the node's shell reads it.
    """

    name = "ssh"

    def __init__(self, ssh: Callable[[], Ssh], command: str) -> None:
        self._ssh = ssh
        self._command = command

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        finished = yield from self._ssh().steps_send(
            self._command, lambda: min(left(), _COMMAND_MOST), before=go
        )
        if finished is not None:
            _check(finished, self._command)


class HookWay(HaltWay):
    """Asks a hook.

    Args:
        name: What settings call it: ``hook`` or ``http``.
        hook: The hook.
        fields: What it may fill in.
    """

    def __init__(self, name: str, hook: Hook, fields: Callable[[], Mapping[str, str | int]]) -> None:
        self.name = name
        self._hook = hook
        self._fields = fields

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        go()
        yield from self._hook.steps_run(self._fields(), left)


def _check(finished: Finished, command: str) -> None:
    if not finished:
        last = next((line for line in reversed(finished.output.splitlines()) if line.strip()), "")
        said = f": {last.strip()[:200]}" if last else ""
        raise NodeAccessError(f"{command!r} ended with status {finished.status} on the node{said}")
