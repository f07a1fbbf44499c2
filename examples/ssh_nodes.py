"""Asks nodes side by side which kernel they run: `python examples/ssh_nodes.py p1.local p2.local`."""

import asyncio
import sys

from rpi_clusterhat import NodeAccessError, Ssh


async def kernel_of(host: str) -> str:
    async with Ssh(host, name=host.partition(".")[0]) as ssh:
        try:
            finished = await ssh.arun(["uname", "-sr"], timeout=20)
        except NodeAccessError as error:
            return str(error)
    return finished.output.strip() if finished else f"status {finished.status}"


async def main(hosts: list[str]) -> None:
    answers = await asyncio.gather(*(kernel_of(host) for host in hosts))
    for host, answer in zip(hosts, answers, strict=True):
        print(f"{host}: {answer}")


asyncio.run(main(sys.argv[1:]))
