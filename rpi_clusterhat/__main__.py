"""``python -m rpi_clusterhat`` is the command ``rpi-clusterhat``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
