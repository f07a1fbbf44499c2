"""Has a node do something, and lets the pool care for its power."""

from http.client import HTTPConnection

from rpi_clusterhat import Cluster, NodePool, PoolSettings
from rpi_clusterhat.probes import TcpProbe

# Quick to watch. On your HAT leave this away, and probe f"{name}.local".
simulation = {"serve": "yes", "boot_time": 0.5}
settings = PoolSettings(balance="first", idle_timeout=0.3, min_on_time=0)

with Cluster.open(board="2.3", backend="sim", options=simulation, spacing=0.1) as hat:
    addresses = hat.addresses

    def get(node: str, path: str) -> int:
        connection = HTTPConnection(*addresses[node], timeout=10)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    with NodePool(hat, probe=lambda name: TcpProbe(*addresses[name]), settings=settings) as pool:
        pool.subscribe(lambda event: print(f"{type(event).__name__} {event.node}: {event.reason}"))
        with pool.lease() as lease:  # switches a node on, and waits until it answers
            print(f"{lease.node} answers {get(lease.node, '/hello')}")
        with pool.lease() as lease:  # the same node, at once
            print(f"{lease.node} answers {get(lease.node, '/again')}")
        while hat["p1"].powered:  # nobody uses it: it goes off by itself
            hat.clock.sleep(0.05)
