"""A port that is offered while somebody answers behind it."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.ports import Port
from rpi_clusterhat_sim.rack.door import Door

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def with_door(act: Callable[[Door, tuple[str, int]], Awaitable[None]], server: bool = True) -> None:
    """Behind it is an echo, which closes after the client has."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def run() -> None:
        listening = await asyncio.start_server(echo, "127.0.0.1", 0)
        target = listening.sockets[0].getsockname()
        if not server:
            listening.close()
        port = Port()
        with closing(port.bound()) as bound:
            door = Door(bound, target)
            async with asyncio.timeout(30):
                await act(door, port.address)
                await door.cut()
        port.give_back()
        listening.close()

    asyncio.run(run())


async def connect(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(client, address)
    except BaseException:
        client.close()
        raise
    return client


def test_it_opens_and_shuts_as_often_as_is_wanted() -> None:
    async def act(door: Door, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await connect(address)
            door.open()
            door.open()
            with await connect(address) as client:
                await loop.sock_sendall(client, b"before")
                assert await loop.sock_recv(client, 100) == b"before"
                door.shut()
                door.shut()
                with pytest.raises(ConnectionRefusedError):
                    await connect(address)
                await loop.sock_sendall(client, b"after")
                assert await loop.sock_recv(client, 100) == b"after"

    with_door(act)


def test_all_arrives_after_one_side_has_ended() -> None:
    text = os.urandom(3_000_000)

    async def act(door: Door, address: tuple[str, int]) -> None:
        door.open()
        loop = asyncio.get_running_loop()
        with await connect(address) as client:

            async def send() -> None:
                await loop.sock_sendall(client, text)
                client.shutdown(socket.SHUT_WR)

            sending = asyncio.create_task(send())
            got = b""
            while data := await loop.sock_recv(client, 1 << 20):
                got += data
            await sending
            assert got == text

    with_door(act)


def test_a_cut_resets_all_connections() -> None:
    async def act(door: Door, address: tuple[str, int]) -> None:
        door.open()
        loop = asyncio.get_running_loop()
        clients = [await connect(address) for _ in range(5)]
        for client in clients:
            await loop.sock_sendall(client, b"x")
            assert await loop.sock_recv(client, 1) == b"x"
        await door.cut()
        for client in clients:
            with client, pytest.raises(ConnectionResetError):
                client.recv(1)
        with pytest.raises(ConnectionRefusedError):
            await connect(address)

    with_door(act)


def test_a_node_that_refuses_is_a_reset() -> None:
    async def act(door: Door, address: tuple[str, int]) -> None:
        door.open()
        with await connect(address) as client, pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(client, 1)

    with_door(act, server=False)


def test_more_clients_than_it_serves_wait() -> None:
    async def act(door: Door, address: tuple[str, int]) -> None:
        door.open()
        loop = asyncio.get_running_loop()
        clients = [await connect(address) for _ in range(260)]
        for client in clients:
            await loop.sock_sendall(client, b"x")
        for client in clients:
            assert await loop.sock_recv(client, 1) == b"x"
            client.close()

    with_door(act)
