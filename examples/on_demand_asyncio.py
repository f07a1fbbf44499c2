"""Takes a lease step by step: asks, tells the client that it has to wait, waits, uses and releases it."""

import asyncio

from rpi_clusterhat import AsyncCluster, AsyncNodePool, PoolError, PoolSettings, TcpProbe

SIMULATION = {"serve": "yes", "boot_time": 0.5, "fault": "p2:no-boot"}
SETTINGS = PoolSettings(boot_timeout=2.0, boot_estimate=20, retry_after_failure=30)


async def use(pool: AsyncNodePool, node: str) -> None:
    lease = pool.lease(node)
    try:
        if not lease.ask():
            seconds = lease.estimate()
            print(f"{node} starts: about {seconds:.0f} s")
            await lease.wait(timeout=30)
        print(f"{lease.node} is ready")
        lease.touch()  # in a long piece of work: whenever something moves
    except PoolError as error:
        again = "" if error.retry_after is None else f", again in {error.retry_after:.0f} s"
        print(f"{type(error).__name__}{again}")
    finally:
        lease.release()


async def main() -> None:
    async with AsyncCluster.open(board="2.3", backend="sim", options=SIMULATION, spacing=0.1) as hat:
        addresses = hat.addresses
        async with AsyncNodePool(
            hat, probe=lambda name: TcpProbe(*addresses[name]), settings=SETTINGS
        ) as pool:
            await use(pool, "p1")
            await use(pool, "p1")
            await use(pool, "p2")
            await use(pool, "p2")
            await pool.close(off=True)


asyncio.run(main())
