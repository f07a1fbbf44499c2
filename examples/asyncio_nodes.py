"""Switches nodes on from asyncio, and gives up waiting after half a second."""

import asyncio

from rpi_clusterhat import AsyncCluster


async def main() -> None:
    async with AsyncCluster.open(backend="sim") as hat:
        await hat.on("p1")
        try:
            async with asyncio.timeout(0.5):
                await hat.on("p2", "p3")  # the rail makes p2 wait for two seconds
        except TimeoutError:
            print("gave up waiting")
        status = await hat.status()
        for name, node in status.nodes.items():
            print(name, node.state)


asyncio.run(main())
