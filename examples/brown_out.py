"""Shows why there is a spacing.

Two nodes that get power at once brown the simulated supply out, and the node that was up boots again, too.
"""

from rpi_clusterhat import Cluster
from rpi_clusterhat.testing import FakeClock, simulated


def boots_of_p1(spacing: float) -> int:
    clock = FakeClock()
    with Cluster.open(backend="sim", spacing=spacing, clock=clock) as hat:
        hat.on("p1")
        clock.advance(30)  # p1 is up
        hat.on("p2", "p3")
        return simulated(hat)["p1"].boots


print("spacing 2 s: p1 has booted", boots_of_p1(2.0), "time(s)")
print("spacing 0 s: p1 has booted", boots_of_p1(0.0), "time(s)")
