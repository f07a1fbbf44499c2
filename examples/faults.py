"""Shows what a program meets when something breaks.

The simulation has a line stick, a bus fail, and a board lose its power.
"""

from rpi_clusterhat import Cluster, Event, NodeFailedError, PowerLost, TransientBusError
from rpi_clusterhat.testing import FakeClock, simulated


def show_power_loss(event: Event) -> None:
    if isinstance(event, PowerLost):
        print(f"board {event.board} lost power")


with Cluster.open(backend="sim", options={"fault": "p2:stuck-low"}, clock=FakeClock()) as hat:
    hat.subscribe(show_power_loss)
    try:
        hat.on("all")
    except NodeFailedError as error:
        print(error)  # p2 only: the others are on
    print(*(f"{name}={node.state}" for name, node in hat.status().nodes.items()))

    board = simulated(hat).boards[0]
    board.fail_bus()
    try:
        hat.status()
    except TransientBusError as error:
        print(error)

    board.lose_power()
    hat.status()
    print(hat["p1"].state)
