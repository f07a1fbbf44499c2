"""Switches two simulated nodes on, prints what is on, and switches all nodes off."""

from rpi_clusterhat import Cluster

with Cluster.open(backend="sim") as hat:
    hat.on("p1", "p3")  # p3 gets power two seconds after p1
    for node in hat:
        print(node.name, "on" if node.powered else "off")
    hat.off("all")
