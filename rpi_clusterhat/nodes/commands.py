"""Commands on a node, by ssh or over its console, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.nodes.finished import Finished
    from rpi_clusterhat.waiting import Steps

    from .access import NodeAccess
    from .console.dialogue import Dialogue
    from .ssh import Ssh

__all__ = ["WAYS", "NodeCommands"]

WAYS = ("ssh", "console")


class NodeCommands:
    """Runs commands on one node. To be used by one thread or task at a time.

    Args:
        access: How the node is reached.
        way: ``ssh`` or ``console``; None for the first of them among the ways to halt it, else ssh.

    Raises:
        SettingError: A setting is invalid.
    """

    def __init__(self, access: NodeAccess, way: str | None = None) -> None:
        self.name = access.name
        if way is None:
            way = next((way for way in access.settings["halt"] if way in WAYS), WAYS[0])
        self.way = way
        self._ssh: Ssh | None = None
        self._console: Dialogue | None = None
        if way == "ssh":
            self._ssh = access.ssh()
        else:
            self._console = access.console().dialogue

    def steps_run(self, command: Sequence[str], left: Callable[[], float]) -> Steps[Finished]:
        """Makes the steps that run a command.

        Args:
            command: Words, of which each is an argument as it is.
            left: Returns how many seconds it may take at most, counted from the call of ``left``.

        Raises:
            NodeAccessError: The node was not reached, or the command did not end in time.
        """
        if self._ssh is not None:
            return self._ssh.steps_run(command, left)
        assert self._console is not None
        return self._console.steps_run(command, left)

    def close(self) -> None:
        """Ends the connection. It may be called again."""
        if self._ssh is not None:
            self._ssh.close()
        if self._console is not None:
            self._console.close()
