"""Halts a node before its power is cut, and shows what becomes of its card without that."""

from rpi_clusterhat import Cluster, CutWithoutHalt, Event, NodeHalted
from rpi_clusterhat.testing import FakeClock, simulated

# Simulated nodes that write to their cards without end. On your HAT leave out all but node, and have
# node={"halt": ["console", "ssh"], "user": "pi", "secret_file": "/etc/rpi-clusterhat.secret"}.
options = {"writes": "yes", "halt_time": 2}
clock = FakeClock()  # twenty seconds of booting pass at once


def show(event: Event) -> None:
    if isinstance(event, NodeHalted):
        print(f"{event.node} halted after {event.seconds:.0f} s")
    elif isinstance(event, CutWithoutHalt):
        print(f"{event.node} was not halted: {event.reason}")


with Cluster.open("2.3", backend="sim", options=options, node={"halt": ["simulated"]}, clock=clock) as hat:
    hat.subscribe(show)
    hat.on("p1", "p2")
    clock.advance(20)
    hat.off("p1")
    hat.off("p2", now=True)
    for name in ("p1", "p2"):
        print(f"the card of {name} is {simulated(hat)[name].card}")
