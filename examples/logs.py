"""Logs what happens to a node. What the library logs itself goes to the same place."""

import logging
import sys

from rpi_clusterhat import Cluster, Event, StateChanged
from rpi_clusterhat.testing import FakeClock

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
log = logging.getLogger("my_program")


def log_change(event: Event) -> None:
    if isinstance(event, StateChanged):
        log.info("%s: %s -> %s (%s)", event.node, event.old, event.new, event.cause)


with Cluster.open(backend="sim", clock=FakeClock()) as hat:
    hat.status()  # the first look at a node is no change
    hat.subscribe(log_change)
    hat.on("p1")
    hat.off("p1")
