"""Switches two boards on at the same time, since each has a supply. Their nodes are p1 to p8."""

from concurrent.futures import ThreadPoolExecutor

from rpi_clusterhat import Cluster

BOARDS = [
    {"board": "2.3", "rail": "left"},
    {"board": "3.1", "rail": "right"},
]

with Cluster.open(backend="sim", boards=BOARDS) as hat:
    with ThreadPoolExecutor() as threads:
        # One call goes through its nodes in order; two calls wait on their rails at the same time.
        calls = [threads.submit(hat.on, "p1", "p2"), threads.submit(hat.on, "p5", "p6")]
    for call in calls:
        call.result()  # raises what the call raised
    status = hat.status()
    for board in status.boards:
        on = [name for name in board.nodes if status.nodes[name].powered]
        print(f"HAT {board.version}: {', '.join(on)} on")
    hat.off("all")
