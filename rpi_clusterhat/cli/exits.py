"""The exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import NodeNameError, SettingError, UnknownBackendError, UnsupportedError

if TYPE_CHECKING:
    from rpi_clusterhat.errors import ClusterHatError

__all__ = ["DONE", "FAILED", "USAGE", "exit_code"]

DONE, FAILED, USAGE = 0, 1, 2


def exit_code(error: ClusterHatError) -> int:
    """Returns `USAGE` where another command line or settings file would help, else `FAILED`."""
    usage_errors = (SettingError, NodeNameError, UnknownBackendError, UnsupportedError)
    return USAGE if isinstance(error, usage_errors) else FAILED
