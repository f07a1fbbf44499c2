"""Heads that are read at once come out as h11 reads them."""

from __future__ import annotations

import re
from functools import partial
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

from clusterhat_proxy import messages
from clusterhat_proxy.messages import HeadError, Limits, RequestHead, ResponseHead, request, response

NEVER = re.compile(rb"(?!)")
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


def outcome(read: partial[RequestHead] | partial[ResponseHead]) -> object:
    try:
        return tuple(read())
    except HeadError as error:
        return error.status if read.func is request else "refused"


def as_head(line: bytes, fields: list[bytes]) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


@given(REQUEST_LINES, FIELDS)
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: \t b c \t", b"x-a:"])
@example(b"GET / HTTP/1.1", [b"Host: a", b"host: a"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Content-Length: 5", b"Content-Length: 5"])
@example(b"POST / HTTP/1.1", [b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"])
@example(b"GET / HTTP/1.1", [b"Host: a", b"X-A: a\x7f"])
def test_requests(line: bytes, fields: list[bytes]) -> None:
    read = partial(request, as_head(line, fields), LIMITS)
    found = outcome(read)
    with mock.patch.object(messages, "_PLAIN_REQUEST", NEVER):
        assert found == outcome(read)


@given(STATUS_LINES, FIELDS)
@example(b"HTTP/1.1 200 OK", [b"X-A: \t b c \t", b"x-a:", b"Content-Length: 5"])
@example(b"HTTP/1.1 200", [b"Content-Length: 5", b"Content-Length: 5"])
@example(b"HTTP/1.1 200 ", [b"Transfer-Encoding: Chunked"])
def test_responses(line: bytes, fields: list[bytes]) -> None:
    read = partial(response, as_head(line, fields), LIMITS)
    found = outcome(read)
    with mock.patch.object(messages, "_PLAIN_RESPONSE", NEVER):
        assert found == outcome(read)


def test_what_is_plain_does_without_h11() -> None:
    with mock.patch("h11.Connection", side_effect=AssertionError):
        head = request(as_head(b"GET /a HTTP/1.1", [b"Host: b", b"Cookie:  c "]), LIMITS)
        answer = response(as_head(b"HTTP/1.0 404 Not Found", [b"Content-Length: 5"]), LIMITS)
    assert head.fields == [(b"host", b"Host", b"b"), (b"cookie", b"Cookie", b"c")]
    assert (answer.status, answer.reason, answer.version) == (404, b"Not Found", b"1.0")
