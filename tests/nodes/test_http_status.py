"""What an HTTP probe expects, and how it reads the status of a response."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.nodes.probes import (
    HttpProbe,
)
from rpi_clusterhat.nodes.probes.http import parse_statuses, read_status

STATUS = st.integers(100, 599)
PARTS = st.lists(st.tuples(STATUS, STATUS).map(sorted).map(tuple), min_size=1, max_size=6)
SPACE = st.sampled_from(["", " ", "  "])


@given(PARTS, SPACE)
def test_expected_statuses(parts: list[tuple[int, int]], space: str) -> None:
    text = ",".join(
        f"{space}{low}{space}" if low == high else f"{low}{space}-{space}{high}" for low, high in parts
    )
    expected = {status for low, high in parts for status in range(low, high + 1)}
    assert parse_statuses(text) == expected
    assert parse_statuses(expected) == parse_statuses(sorted(expected)) == expected


WRONG_STATUSES = [
    "", ",", "200,", "99", "600", "20", "2000", "-200", "200-", "300-200", "2xx", "+200", "2_0",
    "\uff12\uff10\uff10",     "200;204", "200-300-400", [], [99], [600], [-200], [True], [2.5], ["200-204-"],
]  # fmt: skip


@pytest.mark.parametrize("expect", WRONG_STATUSES, ids=repr)
def test_wrong_statuses(expect: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^Invalid value for expect: .*: expected statuses from 100 to 599"
    ):
        HttpProbe("p1", expect=expect)


@given(st.text(alphabet="0123456789-, x", max_size=9))
def test_any_text_is_statuses_or_refused(text: str) -> None:
    try:
        found = parse_statuses(text)
    except SettingError:
        return
    assert found
    assert all(100 <= status <= 599 for status in found)
    assert str(min(found)) in text


INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\n\r\n"])
REASON = st.sampled_from([b"", b" ", b" OK", b" \xff\xfe"])


@given(
    st.lists(INTERIM, max_size=3),
    st.one_of(st.just(101), st.integers(200, 999)),
    REASON,
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"Server: x\r\n\r\nHTTP/1.1 500 no\r\n"]),
)
def test_the_status_is_read_from_each_beginning_of_an_answer(
    interims: list[bytes], status: int, reason: bytes, end: bytes, more: bytes
) -> None:
    head = b"".join(interims) + b"HTTP/1.1 %d%b%b" % (status, reason, end)
    for length in range(len(head)):
        assert read_status(head[:length]) is None
    assert read_status(head + more) == status


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/2 200",
        b"HTTP/1.x 200 OK",
        b"HTTP/1.1  200",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 +20",
        b"HTTP/1.1\t200",
        b"",
    ],
)
def test_what_is_not_http(line: bytes) -> None:
    assert read_status(line + b"\r\n") == line
    assert read_status(b"HTTP/1.1 100 Continue\r\n\r\n" + line + b"\r\n") == line


def test_other_protocols_are_known_by_their_first_bytes() -> None:
    assert read_status(b"HTT") is None
    assert read_status(b"SSH") == b"SSH"


@given(st.binary(max_size=60))
def test_any_bytes_are_read(data: bytes) -> None:
    status = read_status(data)
    assert status is None or isinstance(status, bytes) or 100 <= status <= 999 or data[9:12].startswith(b"0")
