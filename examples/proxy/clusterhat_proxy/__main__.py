"""``clusterhat-proxy --help``, or ``python -m clusterhat_proxy --help``."""

from __future__ import annotations

import signal
import sys

from rpi_clusterhat.streams import fill_closed, flush_errors

__all__ = ["main"]


def main() -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    # While all that it needs is loaded, which takes a while on a slow controller, Ctrl-C just ends it, since
    # nothing is open yet. Later the event loop takes care of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fill_closed()
    try:
        from .run import main as run
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        sys.exit(
            "clusterhat-proxy: prometheus_client is not installed: pip install 'prometheus-client>=0.21'"
        )
    try:
        return run()
    finally:
        flush_errors()


if __name__ == "__main__":
    sys.exit(main())
