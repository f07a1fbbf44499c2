"""The ways to halt a node that is a computer: over its console, by ssh, and through hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ConsoleError, NodeAccessError

from .way import HaltWay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.nodes.console.console import Console
    from rpi_clusterhat.nodes.finished import Finished
    from rpi_clusterhat.nodes.hooks import Hook
    from rpi_clusterhat.nodes.ssh import Ssh
    from rpi_clusterhat.waiting import Steps

__all__ = ["ConsoleWay", "HookWay", "SshWay"]

_COMMAND_MOST = 20.0
"""Seconds for the command, which only asks for the halt."""


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

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        self.close()
        self._console = self._make()
        dialogue = self._console.dialogue
        yield from dialogue.steps_login(lambda: min(left(), dialogue.times.login))
        go()
        try:
            finished = yield from dialogue.steps_run(self._command, lambda: min(left(), _COMMAND_MOST))
        except ConsoleError:
            if dialogue.has_hung_up:  # it was quick
                return
            raise
        _check(finished, self._command)

    def close(self) -> None:
        console, self._console = self._console, None
        if console is not None:
            console.close()


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
