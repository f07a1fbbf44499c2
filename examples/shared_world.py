"""Shares one simulated board between two programs: what one switches on, the other one sees."""

import os
from tempfile import TemporaryDirectory

from rpi_clusterhat import Cluster

with TemporaryDirectory() as folder:
    options = {"state": os.path.join(folder, "world.json")}

    with Cluster.open(backend="sim", options=options) as first:
        first.on("p2")

    # Any other process that names the same file would see the same.
    with Cluster.open(backend="sim", options=options) as second:
        print(second["p2"].state)
        second.off("p2")
