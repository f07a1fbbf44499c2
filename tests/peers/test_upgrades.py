"""The peer's other protocols: an echo of WebSocket messages, and one of bytes."""

from __future__ import annotations

import socket
import struct
import threading
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.bodies import pattern
from tests.peers.client import Client, Running
from tests.peers.node import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running(Peer("p7")) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.address) as client:
        yield client


KEY = b64encode(bytes(range(16))).decode()
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")


def _frame(first: int, payload: bytes, mask: bytes = b"\x01\x80\xff\x55") -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def _read_frame(client: Client) -> tuple[int, bytes]:
    first, size = client.file.read(2)
    if size == 126:
        size = int.from_bytes(client.file.read(2), "big")
    elif size == 127:
        size = int.from_bytes(client.file.read(8), "big")
    return first, client.file.read(size)


@pytest.fixture
def websocket(client: Client) -> Client:
    answer = client.get("/", "GET", *UPGRADE, f"Sec-WebSocket-Key: {KEY}")
    accept = b64encode(sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    assert answer.status == 101
    assert answer.all("Sec-WebSocket-Accept") == [accept]
    assert answer.all("Upgrade") == ["websocket"]
    return client


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("opcode", [1, 2])
def test_messages_come_back(websocket: Client, opcode: int, size: int) -> None:
    payload = b"\x5a" * size if opcode == 1 else pattern(size)
    websocket.send(_frame(0x80 | opcode, payload))
    assert _read_frame(websocket) == (0x80 | opcode, payload)


def test_fragments_and_what_comes_between_them(websocket: Client) -> None:
    parts = [
        (0x01, "ö".encode()[:1]),
        (0x89, b"ping"),
        (0x00, "ö".encode()[1:]),
        (0x8A, b"pong"),
        (0x80, b"!"),
    ]
    websocket.send(b"".join(_frame(*part) for part in parts))
    assert [_read_frame(websocket) for _ in range(2)] == [(0x8A, b"ping"), (0x81, "ö!".encode())]
    websocket.send(_frame(0x82, b"next"))
    assert _read_frame(websocket) == (0x82, b"next")


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", b""),
        (b"\x03\xe8bye", b"\x03\xe8"),
        (b"\x0f\xa0", b"\x0f\xa0"),
        (b"\x03", b"\x03\xea"),
    ],
)
def test_closing(websocket: Client, payload: bytes, answer: bytes) -> None:
    websocket.send(_frame(0x88, payload))
    first, said = _read_frame(websocket)
    assert (first, said[:2]) == (0x88, answer)
    assert websocket.rest() == b""


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"\x81\x01not masked", 1002), (_frame(0x83, b"a"), 1002), (_frame(0x81, b"\xff"), 1007)],
)
def test_what_breaks_the_protocol_ends_it(websocket: Client, sent: bytes, code: int) -> None:
    websocket.send(sent)
    first, said = _read_frame(websocket)
    assert (first, said[:2]) == (0x88, code.to_bytes(2, "big"))
    assert websocket.rest() == b""


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.lists(st.integers(0, 310), max_size=5))
def test_any_mask_in_any_pieces(running: Running, payload: bytes, mask: bytes, cuts: list[int]) -> None:
    frame = _frame(0x82, payload, mask)
    places = sorted({min(cut, len(frame)) for cut in cuts})
    with Client(running.address) as client:
        client.ask("/", "GET", *UPGRADE, f"Sec-WebSocket-Key: {KEY}")
        for start, end in zip([0, *places], [*places, len(frame)], strict=True):
            client.send(frame[start:end])
        assert client.response().status == 101
        assert _read_frame(client) == (0x82, payload)


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("POST", [*UPGRADE, f"Sec-WebSocket-Key: {KEY}"], 400),
        ("GET", [*UPGRADE], 400),
        ("GET", [*UPGRADE[:2], "Sec-WebSocket-Version: 8", f"Sec-WebSocket-Key: {KEY}"], 426),
        ("GET", UPGRADE[1:], 200),  # Connection does not name it
        ("GET", ["Connection: upgrade", "Upgrade: h2c"], 200),
    ],
)
def test_what_is_no_upgrade(client: Client, method: str, fields: list[str], status: int) -> None:
    assert client.get("/", method, *fields).status == status


def test_an_upgrade_that_is_turned_down(client: Client) -> None:
    assert client.get("/?status=403", "GET", "Connection: upgrade", "Upgrade: echo").status == 403
    assert client.get("/").json["requests"] == 2


def test_plain_bytes_come_back_to_the_last(client: Client) -> None:
    client.ask("/?delay=0.01", "GET", "Connection: upgrade", "Upgrade: other, Echo")
    client.send(b"at once")
    assert client.response().all("Upgrade") == ["echo"]
    assert client.file.read(7) == b"at once"
    body = pattern(20_000_000)

    def send() -> None:
        client.send(body)
        client.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    threading.Event().wait(0.05)
    assert client.rest() == body
    sender.join()
