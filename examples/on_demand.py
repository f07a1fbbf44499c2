"""Uses a node, and leaves its power to a pool."""

from http.client import HTTPConnection
from threading import Event

from rpi_clusterhat import Cluster, NodePool, PoolEvent, PoolSettings, PoweredOff, TcpProbe


def fetch(pool: NodePool, ports: dict[str, tuple[str, int]], path: str) -> str:
    with pool.lease() as lease:  # switches a node on if it must, and waits until it answers
        connection = HTTPConnection(*ports[lease.node], timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        connection.close()
        return f"{lease.node} answers {answer.status}"


# Simulated and quick. On your HAT leave out options and spacing, and probe f"{name}.local", 80.
settings = PoolSettings(balance="first", idle_timeout=0.3, min_on_time=0)
options = {"serve": "yes", "boot_time": 0.5}

went_off = Event()


def tell(event: PoolEvent) -> None:
    """Is called in the pool's thread."""
    print(f"{type(event).__name__} {event.node}: {event.reason}")
    if isinstance(event, PoweredOff):
        went_off.set()


with Cluster.open(board="2.3", backend="sim", options=options, spacing=0.1) as hat:
    ports = hat.addresses
    with NodePool(hat, probe=lambda name: TcpProbe(*ports[name]), settings=settings) as pool:
        pool.subscribe(tell)
        print(fetch(pool, ports, "/hello"))
        print(fetch(pool, ports, "/again"))  # by the same node, at once
        went_off.wait(10)  # by itself: nobody uses it now
