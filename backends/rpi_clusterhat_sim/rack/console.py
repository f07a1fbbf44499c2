"""Joins a node's serial line with a pseudo-terminal, as a cable and a serial port do.

As on a real port, what the node says while nobody has the port open is lost. Who has it open and reads
slowly holds the node's output up.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import tty
from contextlib import suppress

__all__ = ["Console"]

_CHUNK = 4096
_LOOK = 0.02
"""Seconds between two looks whether somebody has opened the port."""
_LAST_WORDS = 0.2
"""Seconds in which the last words of a node that has ended can be read: what is unread then is lost."""


class Console:
    """A serial port at a path, from the node's power to its end. Belongs to the running event loop."""

    def __init__(self, path: str) -> None:
        """Makes the port. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        self.path = path
        self._ours, self.line = socket.socketpair()
        """``line`` is the node's end: close it once the node has it."""
        self._ours.setblocking(False)
        self._port, port = os.openpty()
        os.set_blocking(self._port, False)
        tty.setraw(port)  # nothing that the node says may come back to it as an echo
        name = os.ttyname(port)
        os.close(port)
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(name, path)
        self._out = b""
        """From the node, on its way to who has the port open."""
        self._in = b""
        self._open = False
        self._closed = False
        self._ended = asyncio.Event()
        self._loop.add_reader(self._ours, self._from_node)
        self._wait_for_somebody()

    async def finish(self) -> None:
        """Closes after the last words of a node that has ended by itself."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._ended.wait()
        if self._open:
            await asyncio.sleep(_LAST_WORDS)
        self.close()

    def close(self) -> None:
        """Has the port vanish: whoever has it open sees its end."""
        if self._closed:
            return
        self._closed = True
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._waiting.cancel()
        self._stop_port()
        self._loop.remove_reader(self._ours)
        self._loop.remove_writer(self._ours)
        self._ours.close()
        os.close(self._port)

    def _wait_for_somebody(self) -> None:
        self._waiting = self._loop.call_later(_LOOK, self._wait_for_somebody)
        poll = select.poll()
        poll.register(self._port, select.POLLIN)
        events = poll.poll(0)
        if not events or events[0][1] & select.POLLIN:
            self._waiting.cancel()
            self._open = True
            self._loop.add_reader(self._port, self._from_port)

    def _stop_port(self) -> None:
        if self._open:
            self._loop.remove_reader(self._port)
            self._loop.remove_writer(self._port)

    def _nobody(self) -> None:
        """What the node says is lost from now on."""
        self._stop_port()
        self._open = False
        self._out = b""
        self._loop.add_reader(self._ours, self._from_node)
        self._wait_for_somebody()

    def _from_node(self) -> None:
        try:
            data = self._ours.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._ours)
            self._ended.set()
        elif self._open:
            self._out = data
            self._to_port()

    def _to_port(self) -> None:
        try:
            self._out = self._out[os.write(self._port, self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = b""
        if self._out:
            self._loop.remove_reader(self._ours)
            self._loop.add_writer(self._port, self._to_port)
        else:
            self._loop.remove_writer(self._port)
            self._loop.add_reader(self._ours, self._from_node)

    def _from_port(self) -> None:
        try:
            self._in = os.read(self._port, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the last who had it open is gone
            self._nobody()
            return
        self._to_node()

    def _to_node(self) -> None:
        try:
            self._in = self._in[self._ours.send(self._in) :]
        except BlockingIOError:
            pass
        except OSError:
            self._in = b""
        if self._in and self._open:
            self._loop.remove_reader(self._port)
            self._loop.add_writer(self._ours, self._to_node)
        else:
            self._loop.remove_writer(self._ours)
            if self._open:
                self._loop.add_reader(self._port, self._from_port)
