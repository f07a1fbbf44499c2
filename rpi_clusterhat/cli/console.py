"""The command ``console`` attaches the terminal to a node's console."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendError, BoardNotFoundError, SettingError
from rpi_clusterhat.hardware.backend import SupportsConsoles
from rpi_clusterhat.nodes.access import NodeDirectory
from rpi_clusterhat.nodes.console.keys import read_key
from rpi_clusterhat.nodes.console.shared_line import SharedLine
from rpi_clusterhat.nodes.console.terminal import Terminal
from rpi_clusterhat.nodes.console.turns import Role
from rpi_clusterhat.streams import OutputLostError

from .clusters import open_cluster, settings_of
from .exits import DONE

if TYPE_CHECKING:
    import argparse

    from rpi_clusterhat.cluster import Cluster
    from rpi_clusterhat.settings import Settings

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    escape = read_key(args.escape)
    settings = settings_of(args, out)
    hat, name, path = _found(args, settings, out, signals)
    transcript = None if args.transcript is None else _Transcript(args.transcript, out)
    role = Role.WATCHER if args.watch else Role.OPERATOR
    try:
        Terminal(
            name,
            path,
            partial(SharedLine, path, role, lock_dir=settings.lock_dir),
            out.error,
            signals.interrupt,
            escape=escape,
            transcript=transcript,
            watch=args.watch,
            once=args.once,
        ).run()
    except OutputLostError as lost:
        out.lost = lost.error
    finally:
        if transcript is not None:
            transcript.close()
        if hat is not None:
            hat.close()
    return DONE


def _found(
    args: argparse.Namespace, settings: Settings, out: Output, signals: Signals
) -> tuple[Cluster | None, str, str]:
    """The node's name and the path of its console; and the cluster, where that is what has the console."""
    if args.device is not None:
        return None, args.node, args.device
    try:
        hat = open_cluster(args, out, signals, warn_of_alterations=False)
    except (BackendError, BoardNotFoundError):
        # What switches nodes may be broken, or in use: a console is what helps then.
        path = f"/dev/ttypi{args.node.removeprefix('p')}"
        if args.node.startswith("p") and os.path.exists(path):
            return None, args.node, path
        raise
    try:
        names = hat.select(args.node)
        if len(names) != 1:
            raise SettingError(f"console takes one node, not {', '.join(names)}")
        path = NodeDirectory(settings.node, hat.banks)[names[0]].console_path
        if any(isinstance(bank.backend, SupportsConsoles) for bank in hat.banks):
            return hat, names[0], path
    except BaseException:
        hat.close()
        raise
    hat.close()
    return None, names[0], path


class _Transcript:
    """A file to which is appended what a node writes. That may be secret, so that it is the user's alone."""

    def __init__(self, path: str, out: Output) -> None:
        self._path = path
        self._out = out
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise SettingError(f"the transcript {path} cannot be written: {error.strerror}") from error

    def __call__(self, data: bytes) -> None:
        if self._fd < 0:
            return
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.close()
            self._out.error(f"the transcript {self._path} ends here: {error.strerror}")

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
