"""Commands on a node, by ssh or over its console, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.nodes.finished import Finished
    from rpi_clusterhat.settings.nodes import NodeSettings
    from rpi_clusterhat.waiting import Steps

    from .access import NodeAccess
    from .console.dialogue import Dialogue
    from .ssh import Ssh

__all__ = ["WAYS", "NodeCommands", "console_of", "ssh_of"]

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
            self._ssh = ssh_of(access)
        else:
            self._console = console_of(access)

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


def ssh_of(access: NodeAccess) -> Ssh:
    """Returns what reaches a node by ssh."""
    from .ssh import Ssh

    settings = access.settings
    # A settings file for ssh may name the user, too, where nobody named one here.
    is_ours = settings["ssh_config"] is None or "user" in settings.origins
    return Ssh(
        access.host,
        name=access.name,
        user=settings["user"] if is_ours else None,
        port=access.ssh_port,
        identity=settings["ssh_identity"],
        config=settings["ssh_config"],
    )


def console_of(access: NodeAccess) -> Dialogue:
    """Returns what reaches a node over its console."""
    from .console.console import Console

    settings = access.settings
    return Console(access.console_path, settings["user"], _secret(settings)).dialogue


_SECRET_MOST = 1024


def _secret(settings: NodeSettings) -> Secret | None:
    secret, path = settings["secret"], settings["secret_file"]
    if secret is not None or path is None:
        return secret if isinstance(secret, Secret) else None
    try:
        with open(path, encoding="utf-8") as file:
            line = file.readline(_SECRET_MOST + 2).rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingError(f"The secret_file {path} cannot be read: {why}") from None
    if not line or len(line) > _SECRET_MOST or not line.isprintable():
        raise SettingError(f"The first line of the secret_file {path} is no password")
    return Secret(line)
