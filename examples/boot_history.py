"""A node that does not boot: it is tried again, quarantined, and let out; its boots are kept in a file."""

import math
import tempfile
from pathlib import Path
from threading import Event

from rpi_clusterhat import BootHistory, Cluster, NodePool, PoolEvent, PoolSettings, PoweredOff, TcpProbe
from rpi_clusterhat.testing import simulated

# Simulated and quick. On your HAT leave out options and spacing, and probe f"{name}.local", 80.
options = {"serve": "yes", "boot_time": 0.2, "fault": "p2:no-boot"}
settings = PoolSettings(boot_timeout=1.0, retry_after_failure=0.1, boot_attempts=2, quarantine=math.inf)

is_off = Event()


def tell(event: PoolEvent) -> None:
    """Is called in the pool's thread."""
    print(f"{type(event).__name__} {event.node}")
    if isinstance(event, PoweredOff) and pool.nodes[event.node].is_quarantined:
        is_off.set()


with tempfile.TemporaryDirectory() as folder:
    history = BootHistory(Path(folder, "boots.jsonl"))  # BootHistory() keeps them in your home folder
    with Cluster.open(board="2.3", backend="sim", options=options, spacing=0.1) as hat:
        ports = hat.addresses
        with NodePool(
            hat, probe=lambda name: TcpProbe(*ports[name]), settings=settings, history=history
        ) as pool:
            pool.subscribe(tell)
            pool.wake("p2")
            is_off.wait(30)
            simulated(hat)["p2"].fail()  # in place of the person who puts its card right
            pool.reinstate("p2")
            with pool.lease("p2") as lease:
                print(f"{lease.node} works again")
    for record in history.records("p2"):
        print(f"{record.node} {record.outcome} after {record.seconds:.0f} s")
