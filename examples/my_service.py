"""Runs a service of your own on simulated nodes, in place of what your real nodes will run."""

import asyncio
import socket

from rpi_clusterhat import Cluster, TcpProbe, wait_until_up


class Greeter:
    """Answers each line with a greeting."""

    def __init__(self, node: str) -> None:
        self.node = node

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while name := (await reader.readline()).decode().strip():
            writer.write(f"Hello {name}, this is {self.node}.\n".encode())


def main() -> None:
    options = {"service": f"{__file__}:Greeter", "boot_time": 0.5}
    with Cluster.open(board="2.3", backend="sim", options=options) as hat:
        hat.on("p3")
        host, port = hat.addresses["p3"]
        wait_until_up(TcpProbe(host, port), timeout=10, interval=0.1)
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"world\n")
            print(connection.recv(100).decode(), end="")
            hat.off("p3")
            try:
                connection.recv(100)
            except ConnectionResetError:
                print("and p3 is gone")


if __name__ == "__main__":
    main()
