"""Prints what happens while nodes are switched on. The clock is a fake one, so nothing waits."""

from rpi_clusterhat import Cluster, Event, StateChanged, WaitingForRail
from rpi_clusterhat.testing import FakeClock

clock = FakeClock(start=0.0)


def show(event: Event) -> None:
    if isinstance(event, WaitingForRail):
        print(f"{clock.now():4.1f} s  {event.node} waits {event.seconds:g} s for its turn")
    elif isinstance(event, StateChanged):
        print(f"{clock.now():4.1f} s  {event.node} {event.old} -> {event.new} ({event.cause})")


with Cluster.open(backend="sim", clock=clock) as hat:
    hat.status()  # the first look at a node is no change
    hat.subscribe(show)
    hat.on("p[1-3]")
    hat.off("all")
