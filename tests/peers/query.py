"""What the query of a request asks its peer to do.

delay=S          waits so many seconds before it answers
slow-read=S      does not read the body for so many seconds
ignore-expect=1  sends no 100 for Expect: 100-continue
early=103        sends this interim answer, with a Link, as soon as it has the header
status=N         answers with this status
size=N           a body of N bytes: those of `tests.peers.bodies.pattern`
chunks=N         N chunks, of ``size`` bytes each where that is given, ``interval=S`` seconds apart
sse=N            a stream of N events, ``interval=S`` seconds apart
trailers=1       chunked, with the body's SHA-256 in a trailer field
no-length=1      a body that ends with the connection
cut=N            resets the connection after N bytes of a longer body
close=1          closes the connection after the answer
hop=1            fields that a gateway must not pass on
cookies=N        N Set-Cookie fields
raw=NAME         an answer that is broken: see `tests.peers.broken.RAW`; ``reset`` resets without a byte
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .broken import RAW

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Wanted", "parse"]


class Wanted(NamedTuple):
    delay: float = 0.0
    slow_read: float = 0.0
    interval: float = 0.0
    ignore_expect: bool = False
    early: int | None = None
    status: int | None = None
    size: int | None = None
    chunks: int | None = None
    sse: int | None = None
    trailers: bool = False
    no_length: bool = False
    cut: int | None = None
    close: bool = False
    hop: bool = False
    cookies: int = 0
    raw: str | None = None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ValueError(text)
    return value


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= (value := int(text)) <= high:
            raise ValueError(text)
        return value

    return parse


def _flag(text: str) -> bool:
    return text not in ("", "0")


def _raw(text: str) -> str:
    if text not in RAW and text != "reset":
        raise ValueError(text)
    return text


_any_number = _number(0, 1 << 60)
_PARSERS: dict[str, Callable[[str], float | str | None]] = {
    "delay": _seconds,
    "slow-read": _seconds,
    "interval": _seconds,
    "ignore-expect": _flag,
    "early": _number(102, 199),
    "status": _number(200, 999),
    "size": _any_number,
    "chunks": _any_number,
    "sse": _any_number,
    "trailers": _flag,
    "no-length": _flag,
    "cut": _any_number,
    "close": _flag,
    "hop": _flag,
    "cookies": _number(0, 10_000),
    "raw": _raw,
}


def parse(target: str) -> Wanted:
    """Raises `ValueError` for a value that makes no sense; what has no name here is passed over."""
    given: dict[str, Any] = {}
    for item in target.partition("?")[2].split("&"):
        name, _, text = item.partition("=")
        if (read := _PARSERS.get(name)) is not None:
            try:
                given[name.replace("-", "_")] = read(text)
            except ValueError:
                raise ValueError(f"invalid value: {item}") from None
    return Wanted(**given)
