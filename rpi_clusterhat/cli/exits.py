"""The exit codes, and the text of an error as the user of the command sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import NodeNameError, SettingError, UnknownBackendError, UnsupportedError

if TYPE_CHECKING:
    import argparse

    from rpi_clusterhat.errors import ClusterHatError

__all__ = ["DONE", "FAILED", "USAGE", "described", "exit_code"]

DONE, FAILED, USAGE = 0, 1, 2


def exit_code(error: ClusterHatError) -> int:
    """Returns `USAGE` where another command line or settings file would help, else `FAILED`."""
    usage_errors = (SettingError, NodeNameError, UnknownBackendError, UnsupportedError)
    return USAGE if isinstance(error, usage_errors) else FAILED


def described(error: ClusterHatError, args: argparse.Namespace | None) -> str:
    """Returns an error's text, which names the option instead of the argument of `Cluster.open`."""
    text = str(error)
    if args is None or not isinstance(error, SettingError):
        return text
    if args.option:
        for pair in args.option:
            if f"--{pair.partition('=')[0]}" in args.shortcuts and text.startswith(f"options: {pair}: "):
                key, _, value = pair.partition("=")
                return f"--{key} {value}{text.removeprefix(f'options: {pair}')}"
        if text.startswith("options: "):
            return f"-o{text.removeprefix('options')}"
    for name in ("board", "backend", "spacing"):
        if getattr(args, name) is not None and text.startswith(f"{name}: "):
            return f"--{text}"
    return text
