"""Heads and bodies, whatever the bytes are and however they come in pieces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, cast

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clusterhat_proxy.bodies import BodyError, Chunked, Sized
from clusterhat_proxy.messages import (
    HeadError,
    Limits,
    chunk,
    last_chunk,
    lines,
    read_head,
    request,
    response,
)

if TYPE_CHECKING:
    from clusterhat_proxy.wire import Wire

SMALL = Limits(header_size=300, request_line=60, headers=6)

GOOD = b"POST /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:\t2 \r\nContent-Length: 5\r\n\r\n"
PIECES = [
    *(
        b"GET",
        b"POST",
        b" ",
        b"/",
        b"*",
        b"http://h",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"\r\n",
        b"\r\n\r\n",
    ),
    *(
        b"\r",
        b"\n",
        b"\0",
        b"\t",
        b":",
        b": ",
        b"Host: h\r\n",
        b"Content-Length: 5\r\n",
        b"content-length",
        b"5",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"chunked", b"X: y\r\n", b",", b"\xff", b"a" * 50, b"\x0b", b"\x7f"),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"200", b"Connection: close\r\n"),
]
messy = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=14).map(b"".join)


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A good head with one small change."""
    at = draw(st.integers(0, len(GOOD)))
    return GOOD[:at] + draw(st.sampled_from([*PIECES, b""])) + GOOD[at + draw(st.integers(0, 2)) :]


heads = st.one_of(messy, nearly(), messy.map(lambda m: b"GET / HTTP/1.1\r\nHost: h\r\n" + m + b"\r\n\r\n"))


class Pieces:
    """What comes in: these pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def receive(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def left(self) -> bytes:
        return b"".join(self._pieces)


def read(pieces: list[bytes]) -> tuple[bytes, bytes] | int:
    """The head and all that comes after it, or the status of what is refused."""
    source = Pieces(pieces)
    try:
        head, rest = asyncio.run(read_head(cast("Wire", source), b"", SMALL))
    except HeadError as error:
        return error.status
    return head, rest + source.left()


def bytes_of(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@given(heads, st.lists(st.integers(0, 400), max_size=6))
@example(GOOD, [])
@example(b"GET" + b"a" * 55 + b"\rGET", [])
def test_a_head_in_pieces_is_the_same_head_or_refused_alike(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes: they are a head or refused, and nothing else is ever raised."""
    whole = read([data])
    places = sorted({min(cut, len(data)) for cut in cuts})
    some = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    for pieces in (some, bytes_of(data)):
        found = read(pieces)
        # What is wrong twice is refused for what shows first.
        assert found == whole or (isinstance(found, int) and isinstance(whole, int))
    if isinstance(whole, tuple) and whole[0]:
        head, rest = whole
        assert head + rest == data
        assert head.endswith(b"\r\n\r\n")
        try:
            request(head, SMALL)
        except HeadError as error:
            assert error.status in (400, 414, 431, 501, 505)  # noqa: PT017 - or none is raised


@given(heads)
@settings(max_examples=400)
@example(GOOD)
def test_what_is_accepted_has_one_meaning(data: bytes) -> None:
    """h11, and a plain reading by the rules, see the same in it."""
    whole = read([data])
    if isinstance(whole, int) or not whole[0]:
        return
    head = whole[0]
    try:
        found = request(head, SMALL)
    except HeadError:
        return
    start, *rest = head[:-4].split(b"\r\n")
    method, target, version = start.split(b" ")
    plain = [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in rest)]
    assert (found.method, b"HTTP/" + found.version) == (method, version)
    if target.startswith(b"/"):
        assert found.target == target
        assert [(raw, value) for _, raw, value in found.fields] == plain
    by_name = {name.lower(): value for name, value in reversed(plain)}
    assert len([name for name, _ in plain if name.lower() == b"content-length"]) <= 1
    assert not (b"content-length" in by_name and b"transfer-encoding" in by_name)
    assert by_name.get(b"transfer-encoding", b"chunked").lower() == b"chunked"
    assert by_name.get(b"content-length", b"0").isdigit()
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, event.headers.raw_items()) == (method, target, plain)


@given(heads)
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n"):
        whole = read([start + data])
        if isinstance(whole, int) or not whole[0]:
            continue
        try:
            found = response(whole[0], SMALL)
        except HeadError as error:
            assert error.status in (400, 431, 502)  # noqa: PT017 - or none is raised
            continue
        assert 100 <= found.status <= 999
        assert found.version.startswith(b"1.")
        names = [name for name, _, _ in found.fields]
        assert names.count(b"content-length") <= 1
        assert not (b"content-length" in names and b"transfer-encoding" in names)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"x" * 63, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 300, 431),
        (b"GET / HTTP/1.1\nHost", 400),
        (b"GET / HTTP/1.1\r\nX: y\r\n z", 400),
        (b"GET / HTTP/1.1\r\nX: \r.", 400),
        (b"\0", 400),
    ],
)
def test_a_head_is_refused_as_soon_as_it_cannot_become_one(data: bytes, status: int) -> None:
    """Without waiting for its end."""

    class Open(Pieces):
        async def receive(self) -> bytes:
            assert self._pieces, "it waits for more"
            return await super().receive()

    for pieces in ([data], bytes_of(data)):
        with pytest.raises(HeadError) as caught:
            asyncio.run(read_head(cast("Wire", Open(pieces)), b"", SMALL))
        assert caught.value.status == status


def test_the_end_before_a_head_is_no_error_and_within_one_is() -> None:
    assert read([]) == (b"", b"")
    assert read([b"GET / HTTP/1.1\r\nHost: h\r\n"]) == 400


tokens = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(str.encode)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=9)
pairs = st.lists(
    st.tuples(tokens.map(lambda name: b"X-" + name), texts.map(lambda text: text.encode("latin-1"))),
    max_size=9,
)


@given(tokens, pairs, st.lists(st.binary(max_size=50), max_size=9), pairs)
def test_what_we_write_is_read_the_same_by_h11(
    method: bytes, fields: list[tuple[bytes, bytes]], parts: list[bytes], trailers: list[tuple[bytes, bytes]]
) -> None:
    more = [(b"Host", b"h"), (b"Transfer-Encoding", b"chunked")]
    head = lines(method + b" /x HTTP/1.1", [(n.lower(), n, v) for n, v in fields], more)
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(
        head + b"".join(chunk(part) for part in parts if part) + last_chunk(trailers) + b"GET"
    )
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.headers.raw_items()) == (method, [*fields, *more])
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (body, event.headers.raw_items()) == (b"".join(parts), trailers)
    assert reader.trailing_data[0] == b"GET"


# Bodies ---------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    rest: bytes


def outcome(reader: Sized | Chunked, pieces: list[bytes]) -> Outcome | str:
    """What was read of these pieces, or why not."""
    body = b""
    for at, piece in enumerate(pieces):
        reader.receive(piece)
        try:
            while (part := reader.next()) is not None:
                if not part:
                    assert reader.next() == b""
                    return Outcome(body, reader.trailers, reader.rest + b"".join(pieces[at + 1 :]))
                body += part
        except BodyError:
            return "wrong"
    return "unfinished"


CHUNKS = [
    *(
        b"5",
        b"0",
        b"a",
        b"F",
        b"05",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b";x=y",
        b' ;x="y"',
        b" ",
        b"hello",
        b"\t",
    ),
    *(
        b"5\r\nhello\r\n",
        b"1\r\nx\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"X: y\r\n",
        b"X:y",
        b" z",
        b"\0",
        b"-",
        b"\x7f",
    ),
]
chunked = st.lists(st.one_of(st.sampled_from(CHUNKS), st.binary(max_size=2)), max_size=10).map(b"".join)


@given(chunked, st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=400)
@example(b"5\r\nhello\r\n0\r\nX: y\r\n\r\nrest", 4, 9)
def test_a_chunked_body_in_pieces_is_the_same_body_or_refused_alike(
    data: bytes, one: int, other: int
) -> None:
    whole = outcome(Chunked(1000), [data])
    low, high = sorted((one, other))
    assert outcome(Chunked(1000), [data[:low], data[low:high], data[high:]]) == whole
    assert outcome(Chunked(1000), bytes_of(data)) == whole


@given(st.lists(st.sampled_from(CHUNKS)).map(lambda parts: b"".join([*parts, b"0\r\n\r\nGET"])))
@settings(max_examples=400)
@example(b"5\r\nhello\r\n0\r\nX: y\r\n\r\nrest")
@example(b'0 ;x="y"0\r\n\r\nGET')
def test_a_chunked_body_that_is_accepted_is_the_same_to_h11(data: bytes) -> None:
    ours = outcome(Chunked(1000), [data])
    if isinstance(ours, str):
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(reader.next_event(), h11.Request)
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert ours == Outcome(body, event.headers.raw_items(), reader.trailing_data[0])


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=9), pairs, st.integers(1, 200))
def test_any_body_that_we_write_in_chunks_is_read_again(
    parts: list[bytes], trailers: list[tuple[bytes, bytes]], size: int
) -> None:
    data = b"".join(map(chunk, parts)) + last_chunk(trailers) + b"rest"
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert outcome(Chunked(1000), pieces) == Outcome(b"".join(parts), trailers, b"rest")


@pytest.mark.parametrize(
    "data", [b"1" * 101, b"5;" + b"x" * 99, b"0\r\nX: " + b"x" * 98, b"0\r\n" + b"X: yyyyyyyyyy\r\n" * 9]
)
def test_lines_and_trailers_are_bounded(data: bytes) -> None:
    assert outcome(Chunked(100), [data]) == "wrong"
    assert outcome(Chunked(100), bytes_of(data)) == "wrong"


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(1, 50))
def test_a_body_with_a_length_ends_there(data: bytes, length: int, size: int) -> None:
    pieces = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    wanted = Outcome(data[:length], [], data[length:]) if length <= len(data) else "unfinished"
    assert outcome(Sized(length), pieces) == wanted
