"""Heads come out as h11 reads them, and are refused where h11 refuses them or where a reason is told here."""

from __future__ import annotations

import re

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clusterhat_proxy.messages import HeadError, Limits, request, response

LIMITS = Limits()

COMMON = (
    b"Host|host|Content-Length|Content-length|Transfer-Encoding|Connection|Upgrade|Expect|X-A|x-a|Cookie|TE"
)
NAMES = st.sampled_from([*COMMON.split(b"|"), b"X A", b"X-A ", b" X", b"", b"X\xe4", b"!#$%&'*+.^_`|~-"])
LIKELY = (
    rb"a|example.org:80|[::1]|a/b|a:b|5|5, 5|+5|05|chunked|Chunked|gzip, chunked|close|upgrade, keep-alive"
)
ODD = [
    b"",
    b" ",
    b"\t a b \t",
    b"a\x0bb",
    b"\x0c",
    b"a\x7f",
    b"\xe4\xff",
    b"a\x00",
    b"\x01",
    b"a\rb",
    b"a\nb",
]
VALUES = st.one_of(
    st.sampled_from(LIKELY.split(b"|")),
    st.sampled_from([*ODD, b"a\r\n b", b"9" * 19, b"100-continue"]),
    st.binary(max_size=6),
)
FIELD = st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t ", b" :", b""]), VALUES).map(b"".join)
PLAIN = st.sampled_from([b"Host: a", b"Accept: */*", b"Content-Length: 3", b"X-A: b", b"Connection: close"])
FIELDS = st.lists(st.one_of(PLAIN, FIELD), max_size=6)

REQUEST_LINES = st.one_of(
    st.builds(
        b"%b %b HTTP/%b".__mod__,
        st.tuples(
            st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH", b"G(T", b""]),
            st.sampled_from(
                [b"/", b"/a?b#c", b"*", b"http://h/", b"a:1", b"/\xe4", b"/\x7f", b"/ a", b"", b"//"]
            ),
            st.sampled_from([b"1.1", b"1.0", b"1.2", b"2.0", b"1.", b"1.1 ", b"11"]),
        ),
    ),
    st.binary(max_size=20),
)
STATUS_LINES = st.one_of(
    st.builds(
        b"HTTP/%b %b%b".__mod__,
        st.tuples(
            st.sampled_from([b"1.1", b"1.0", b"1.2", b"3.0", b"x"]),
            st.sampled_from([b"200", b"204", b"304", b"999", b"099", b"100", b"101", b"20", b"2000", b"2x0"]),
            st.sampled_from(
                [b"", b" ", b" OK", b"  a\tb ", b" \xe4", b" \x01", b" \x7f", b" a\x00", b" a\x0b"]
            ),
        ),
    ),
    st.binary(max_size=20),
)


def as_head(line: bytes, fields: list[bytes]) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def is_refused_though_h11_takes_it(head: bytes, version: bytes) -> bool:
    """Where another reader might see another message, the reader here is stricter than h11."""
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    lengths = re.findall(rb"(?i)\ncontent-length:[ \t]*(.*?)[ \t]*(?=\r\n)", head)
    return (
        not version.startswith(b"1.")
        or re.search(rb"\r\n[ \t]|[^\r]\n|\r[^\n]|\0", head) is not None
        or len(lengths) > 1
        or any(not length.isdigit() or len(length) > 18 for length in lengths)
        or (b"transfer-encoding" in names and (b"content-length" in names or version < b"1.1"))
    )


def h11_reads(
    head: bytes, role: type[h11.CLIENT | h11.SERVER]
) -> h11.Request | h11.Response | h11.InformationalResponse | None:
    """The head as h11 reads it; None where it refuses that."""
    reader = h11.Connection(role, max_incomplete_event_size=LIMITS.header_size)
    if role is h11.CLIENT:
        asked = [("Host", "-"), ("Upgrade", "-"), ("Connection", "upgrade")]
        reader.send(h11.Request(method="GET", target="/", headers=asked))
    reader.receive_data(head)
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
        return None
    refused = is_refused_though_h11_takes_it(head, event.http_version)
    return None if refused else event


def is_no_request_for_a_gateway(event: h11.Request | h11.Response | h11.InformationalResponse) -> bool:
    """Though it is a request to h11."""
    assert isinstance(event, h11.Request)
    hosts = [value for name, value in event.headers.raw_items() if name.lower() == b"host"]
    return (
        event.method == b"CONNECT"
        or not event.target.startswith(b"/")
        or (not hosts and event.http_version > b"1.0")
        or any(host not in (b"", b"a", b"example.org:80", b"[::1]") for host in hosts)
    )


def fields_of(
    event: h11.Request | h11.Response | h11.InformationalResponse,
) -> list[tuple[bytes, bytes, bytes]]:
    return [(raw.lower(), raw, value) for raw, value in event.headers.raw_items()]


def with_codings_in_lower_case(fields: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    """As h11 shows them."""
    return [(n, raw, v.lower() if n == b"transfer-encoding" else v) for n, raw, v in fields]


@settings(max_examples=500)
@given(REQUEST_LINES, FIELDS)
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: \t b c \t", b"x-a:"])
@example(b"GET / HTTP/1.1", [b"Host: a", b"host: a"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Content-Length: 5", b"Content-Length: 5"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Transfer-Encoding: Chunked"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"])
@example(b"POST / HTTP/1.0", [b"Host: a", b"Transfer-Encoding: chunked"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Content-Length: 1000000000000000000"])
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: a\x7f"])
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: a\x0bb"])
@example(b"GET / HTTP/1.0", [])
@example(b"GET /\xe4 HTTP/1.1", [b"Host: a"])
def test_a_request_is_what_h11_reads(line: bytes, fields: list[bytes]) -> None:
    head = as_head(line, fields)
    expected = h11_reads(head, h11.SERVER)
    try:
        found = request(head, LIMITS)
    except HeadError:
        assert expected is None or is_no_request_for_a_gateway(expected)
        return
    assert isinstance(expected, h11.Request)
    assert (found.method, found.version) == (expected.method, expected.http_version)
    if expected.target.startswith(b"/"):
        assert found.target == expected.target
        assert with_codings_in_lower_case(found.fields) == fields_of(expected)
        assert found.host == dict(expected.headers).get(b"host", b"")
        assert found.first == {name: value for name, _, value in reversed(found.fields)}


@settings(max_examples=500)
@given(STATUS_LINES, FIELDS)
@example(b"HTTP/1.1 200 OK", [b"X-A: \t b c \t", b"x-a:", b"Content-Length: 5"])
@example(b"HTTP/1.1 200", [b"Content-Length: 5", b"Content-Length: 5"])
@example(b"HTTP/1.1 200 ", [b"Transfer-Encoding: Chunked"])
@example(b"HTTP/1.1 200 ", [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"])
@example(b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked", b"Content-Length: 5"])
@example(b"HTTP/1.0 200 OK", [b"Transfer-Encoding: chunked"])
@example(b"HTTP/1.1 101 Switching Protocols", [b"Upgrade: a", b"Connection: upgrade"])
@example(b"HTTP/1.1 103", [b"Link: a"])
@example(b"HTTP/1.1 200 OK", [b"Host: a", b"Host: b"])
def test_a_response_is_what_h11_reads(line: bytes, fields: list[bytes]) -> None:
    head = as_head(line, fields)
    expected = h11_reads(head, h11.CLIENT)
    try:
        found = response(head, LIMITS)
    except HeadError:
        assert expected is None
        return
    assert isinstance(expected, h11.Response | h11.InformationalResponse)
    assert (found.status, found.reason, found.version) == (
        expected.status_code,
        expected.reason,
        expected.http_version,
    )
    assert with_codings_in_lower_case(found.fields) == fields_of(expected)
    assert found.first == {name: value for name, _, value in reversed(found.fields)}
