"""How this installation's command is run as root: what messages tell a person to type."""

from __future__ import annotations

import os
import sys

__all__ = ["setup_command"]

_NAME = "rpi-clusterhat"


def setup_command() -> str:
    """Returns the line that sets this machine up, such as ``sudo /opt/hat/bin/rpi-clusterhat setup``.

    It has the whole path of the command, since sudo looks for commands in the system's folders only.
    """
    # An interpreter that is embedded in a program may have no path.
    beside = os.path.join(os.path.dirname(sys.executable or ""), _NAME)
    if sys.executable and os.access(beside, os.X_OK):
        import shlex

        return f"sudo {shlex.quote(beside)} setup"
    return f"sudo {_NAME} setup"
