"""What is sent to a port to find out whether it is open, and what its answer says."""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat_sim.rack.knock import Knocker, checksum, parse


@given(st.binary(max_size=64))
def test_a_sum_over_a_text_and_its_sum_is_nothing(text: bytes) -> None:
    """Source: RFC 1071, 1 (3)."""
    padded = text + bytes(len(text) % 2)
    assert checksum(padded + struct.pack("!H", checksum(text))) == 0


def test_the_sum_of_the_standard() -> None:
    """Source: RFC 1071, 3."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@given(st.binary(max_size=80))
def test_any_packet_is_taken(packet: bytes) -> None:
    answer = parse(packet)
    assert answer is None or (packet[0] >> 4 == 4 and len(packet) >= 40)


@given(
    port=st.integers(1, 65535),
    to=st.integers(0, 65535),
    flags=st.integers(0, 63),
    options=st.integers(0, 10),
)
def test_an_answer_has_the_flags_of_one(port: int, to: int, flags: int, options: int) -> None:
    ip = bytes([0x40 + 5 + options]) + bytes(11) + bytes([10, 77, 0, 3]) + bytes(4 + 4 * options)
    packet = ip + struct.pack("!HHIIBBHHH", port, to, 0, 0, 80, flags, 0, 0, 0)
    syn, rst, ack = bool(flags & 2), bool(flags & 4), bool(flags & 16)
    expected = ("10.77.0.3", port, not rst) if 20000 <= to < 30000 and ack and (syn or rst) else None
    assert parse(packet) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may send such packets")
def test_ports_of_this_machine() -> None:
    with closing(Knocker("127.0.0.1")) as knocker, socket.socket() as open_, socket.socket() as closed:
        for sock in (open_, closed):
            sock.bind(("127.0.0.1", 0))
        open_.listen()
        open_.setblocking(False)
        ports = {sock.getsockname()[1]: sock is open_ for sock in (open_, closed)}
        for port in ports:
            knocker.knock("127.0.0.1", port)
        found: dict[int, bool] = {}
        end = time.monotonic() + 10
        while found != ports and time.monotonic() < end:
            found |= {port: is_open for _, port, is_open in knocker.answers()}
        assert found == ports
        with pytest.raises(BlockingIOError):
            open_.accept()  # the server has noticed nothing
        knocker.knock("255.255.255.255", 1)  # cannot be sent
