"""What a request is told whose node is not ready yet. Pure: nothing is read, sent or awaited here.

It is held until the node is ready, or answered at once with 503: with a page for people, or with problem+json
(RFC 9457) for programs. Which of them follows from the mode, the method and what the client accepts.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CONTENT_TYPE", "Answer", "Mode", "Waiting", "decide", "problem", "retry_after", "waiting_problem"]

Mode = Literal["hold", "page", "auto"]
Answer = Literal["hold", "html", "problem"]

CONTENT_TYPE = {"html": b"text/html; charset=utf-8", "problem": b"application/problem+json"}

MAX_RETRY_AFTER = 3600


@dataclass(frozen=True)
class Waiting:
    """What there is to tell a client that has to wait. Times in seconds."""

    node: str
    """Empty where any node would do: all of them are full."""
    state: str
    """The node's state as the pool names it ("queued", "booting", "stopping", "failed", …), or "full"."""
    elapsed: float
    """Since the boot was asked for."""
    expected: float
    """What a boot takes by those seen so far; 0 where none was seen."""
    queue: int
    """Requests that wait for this node, or for any."""
    nodes: Mapping[str, str]
    """The state of each node."""
    retry_after: int
    """Whole seconds, at least 1."""

    @property
    def remaining(self) -> float:
        """Seconds left by those boots; 0 where it takes longer than they did, or where none was seen."""
        return max(0.0, self.expected - self.elapsed)


def decide(mode: Mode, method: bytes, accept: bytes | None) -> Answer:
    """What to do with a request whose node is not ready. `accept`: the field's value, lines joined.

    In "auto" only a GET or a HEAD is answered at once, and only for a client that names HTML or problem+json
    itself: the client of any other request would have to keep its body and know that it may send it again.
    """
    if mode == "hold":
        return "hold"
    ranges = list(_ranges(accept or b""))
    html = _wish(ranges, "text", "html")
    # problem+json is JSON: who accepts JSON can read it.
    named = _wish(ranges, "application", "problem+json")
    other = max(named, _wish(ranges, "application", "json"))
    prefers_html = html.weight > 0 and html.precision > _ANYTHING and html > other
    if mode == "page":
        return "html" if prefers_html else "problem"
    if method not in (b"GET", b"HEAD"):
        return "hold"
    if prefers_html and html.precision >= _NAMED:
        return "html"
    return "problem" if named.weight > 0 and named.precision >= _NAMED else "hold"


def retry_after(seconds: float) -> int:
    """The value of Retry-After: whole seconds from 1 to an hour, for any number."""
    if math.isnan(seconds):
        return 1
    return math.ceil(min(max(seconds, 1), MAX_RETRY_AFTER))


def problem(status: int, title: str, detail: str, retry_after: int | None = None, **members: Any) -> bytes:
    """The body of an answer of the type application/problem+json. Members must be what JSON can say."""
    document: dict[str, Any] = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    if retry_after is not None:
        document["retry_after"] = retry_after
    return json.dumps(document | members, allow_nan=False).encode()


def waiting_problem(view: Waiting) -> bytes:
    """The same as the waiting page, for programs: the body of a 503."""
    return problem(
        503,
        "Service Unavailable",
        f"Node {view.node} is not ready (state: {view.state})." if view.node else "No node is free.",
        view.retry_after,
        node=view.node or None,
        state=view.state,
        elapsed=round(view.elapsed, 1),
        expected=round(view.expected, 1),
        queue=view.queue,
    )


# Accept (RFC 9110, 12.5.1) ----------------------------------------------------------------------------

_ANYTHING, _TYPE, _NAMED, _NAMED_WITH_PARAMETERS = range(4)


class _Wish(NamedTuple):
    """How much a client wants a media type, and how precisely it said so. Compared in this order."""

    weight: float
    precision: int


class _Range(NamedTuple):
    main: str
    sub: str
    parameters: tuple[str, ...]
    weight: float


def _parts_at(separator: str) -> re.Pattern[str]:
    return re.compile(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)


_ELEMENTS, _PARAMETERS = _parts_at(","), _parts_at(";")
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_RANGE = re.compile(rf"({_WORD})/({_WORD})")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def _ranges(accept: bytes) -> Iterator[_Range]:
    """The media ranges of an Accept field. What cannot be read counts as not said."""
    for element in _ELEMENTS.findall(accept.decode("latin-1").lower()):
        name, _, rest = element.partition(";")
        media_range = _MEDIA_RANGE.fullmatch(name.strip(" \t"))
        if media_range is None:
            continue
        main, sub = media_range.groups()
        weight, parameters = "1", list[str]()
        for part in _PARAMETERS.findall(rest):
            parameter = part.strip(" \t")
            if parameter.startswith("q="):
                weight = parameter[2:]
            elif parameter:
                parameters.append(parameter.replace('"', ""))
        if _WEIGHT.fullmatch(weight) and (main != "*" or sub == "*"):
            yield _Range(main, sub, tuple(parameters), float(weight))


def _wish(ranges: list[_Range], main: str, sub: str) -> _Wish:
    """The most precise range that covers the type says how much it is wanted."""
    found = _Wish(0.0, _ANYTHING)
    precision = -1
    for media_range in ranges:
        how = _covers(media_range, main, sub)
        if how > precision or (how == precision and media_range.weight > found.weight):
            precision, found = how, _Wish(media_range.weight, how)
    return found if precision >= 0 else _Wish(0.0, _ANYTHING)


def _covers(media_range: _Range, main: str, sub: str) -> int:
    """How precisely a range covers a type; -1 where it does not. What we send is UTF-8."""
    if any(parameter != "charset=utf-8" for parameter in media_range.parameters):
        return -1
    match media_range.main == main, media_range.sub == sub:
        case True, True:
            return _NAMED_WITH_PARAMETERS if media_range.parameters else _NAMED
        case True, _ if media_range.sub == "*":
            return _TYPE
        case _ if media_range.main == "*":
            return _ANYTHING
        case _:
            return -1
