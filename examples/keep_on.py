"""Keeps two nodes on for a piece of work: waits until they are ready, and switches them off after it."""

from rpi_clusterhat import Cluster, TcpProbe

# Simulated nodes that answer. On your HAT leave out options and spacing, and probe f"{name}.local", 22.
options = {"serve": "yes", "boot_time": 0.5}

with Cluster.open(board="2.3", backend="sim", options=options, spacing=0.1) as hat:
    addresses = hat.addresses
    with hat.powered("p1", "p3", wait=lambda name: TcpProbe(*addresses[name])) as nodes:
        for node in nodes:
            print(node.name, "is", node.state)
    print("p1 is", hat["p1"].state)
