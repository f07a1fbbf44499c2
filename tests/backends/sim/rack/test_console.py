"""A node's serial port: what is said while nobody listens is lost, and nothing else is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import sys
import termios
import tty
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.rack.console import Console

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def with_console(path: Path, act: Callable[[Console], Awaitable[None]]) -> None:
    async def run() -> None:
        console = Console(str(path))
        console.line.setblocking(False)
        try:
            async with asyncio.timeout(30):
                await act(console)
        finally:
            console.close()
            console.line.close()

    asyncio.run(run())


def opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


async def read(fd: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        if select.select([fd], [], [], 0)[0]:
            found += os.read(fd, 65536)
        await asyncio.sleep(0.001)
    return found


async def heard(console: Console, length: int) -> bytes:
    found = b""
    while len(found) < length:
        found += await asyncio.get_running_loop().sock_recv(console.line, 65536)
    return found


async def attached(console: Console) -> int:
    """Somebody has it open, and it was noticed."""
    fd = opened(console.path)
    os.write(fd, b"\n")
    assert await heard(console, 1) == b"\n"
    return fd


def on_its_way(console: Console) -> int:
    """Bytes that the node has said and nobody has taken yet. Source: unix(7), SIOCOUTQ."""
    left = fcntl.ioctl(console.line, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(left, sys.byteorder)


def gone(path: Path) -> bool:
    return not os.path.lexists(path)


def test_both_ways_and_nothing_comes_back(tmp_path: Path) -> None:
    async def act(console: Console) -> None:
        fd = await attached(console)
        os.write(fd, b"root\r\x03\x04\x00\xff")
        assert await heard(console, 9) == b"root\r\x03\x04\x00\xff"
        console.line.send(b"Password: \r\n\x03\xff")
        assert await read(fd, 14) == b"Password: \r\n\x03\xff"
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            console.line.recv(1)
        os.close(fd)

    with_console(tmp_path / "ttypi1", act)


def test_what_nobody_hears_is_lost(tmp_path: Path) -> None:
    async def act(console: Console) -> None:
        for _ in range(3):
            await asyncio.get_running_loop().sock_sendall(console.line, b"x" * 100_000)
            while on_its_way(console):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.001)
            fd = await attached(console)
            console.line.send(b"login: ")
            assert await read(fd, 7) == b"login: "
            os.close(fd)
            await asyncio.sleep(0.1)

    with_console(tmp_path / "ttypi1", act)


def test_who_says_something_and_leaves_is_heard(tmp_path: Path) -> None:
    async def act(console: Console) -> None:
        for _ in range(3):
            fd = opened(console.path)
            os.write(fd, b"poweroff\n")
            os.close(fd)
            assert await heard(console, 9) == b"poweroff\n"

    with_console(tmp_path / "ttypi1", act)


def test_a_slow_reader_gets_all(tmp_path: Path) -> None:
    text = os.urandom(400_000)

    async def act(console: Console) -> None:
        fd = await attached(console)
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(console.line, text))
        await asyncio.sleep(0.1)
        assert not sending.done(), "it is held up"
        assert await read(fd, len(text)) == text
        await sending
        os.close(fd)

    with_console(tmp_path / "ttypi1", act)


def test_a_node_that_does_not_listen_holds_its_writer_up(tmp_path: Path) -> None:
    text = os.urandom(1_000_000)

    async def act(console: Console) -> None:
        fd = await attached(console)
        left = text
        for _ in range(100):
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
        assert left
        got = b""
        while left:
            got += await heard(console, 1)
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                continue
        got += await heard(console, len(text) - len(got))
        assert got == text
        os.close(fd)

    with_console(tmp_path / "ttypi1", act)


def test_it_vanishes(tmp_path: Path) -> None:
    path = tmp_path / "ttypi1"
    path.symlink_to("/dev/null")  # of one that was killed

    async def act(console: Console) -> None:
        fd = await attached(console)
        tty.setraw(fd)
        console.close()
        assert gone(path)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(fd, b"x")
        os.close(fd)

    with_console(path, act)


def test_last_words_are_heard(tmp_path: Path) -> None:
    async def act(console: Console) -> None:
        fd = await attached(console)
        console.line.send(b"System halted\n")
        console.line.close()
        finishing = asyncio.create_task(console.finish())
        assert await read(fd, 14) == b"System halted\n"
        await finishing
        assert gone(tmp_path / "ttypi1")
        os.close(fd)

    with_console(tmp_path / "ttypi1", act)
