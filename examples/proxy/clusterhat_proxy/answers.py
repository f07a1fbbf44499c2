"""Errors as answers: a page for people, problem+json (RFC 9457) for programs."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from . import cold
from .document import POLICY, error_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exchange import Exchange

__all__ = ["NO_STORE", "as_json", "fail", "one_line", "wants_page"]

NO_STORE = (b"Cache-Control", b"no-store")


def wants_page(exchange: Exchange) -> bool:
    """Whether the client would rather have HTML than JSON."""
    return cold.decide("page", b"GET", exchange.first.get(b"accept")) == "html"


async def fail(
    exchange: Exchange,
    status: int,
    detail: str,
    more: Sequence[tuple[bytes, bytes]] = (),
    *,
    policy: bytes = POLICY,
    retry_after: int | None = None,
) -> None:
    """Answers with an error.

    Args:
        exchange: the request that is answered.
        status: the answer's status.
        detail: a sentence that says what is wrong.
        more: further fields.
        policy: the page's Content-Security-Policy.
        retry_after: seconds after which the client may try again.
    """
    title = HTTPStatus(status).phrase
    head = [NO_STORE, *more]
    if retry_after is not None:
        head.append((b"Retry-After", b"%d" % retry_after))
    if wants_page(exchange):
        head.append((b"Content-Security-Policy", policy))
        page = error_page(status, title, detail, retry_after)
        await exchange.reply(status, head, page, cold.CONTENT_TYPE["html"])
    else:
        body = cold.problem(status, title, detail, retry_after)
        await exchange.reply(status, head, body, cold.CONTENT_TYPE["problem"])


def as_json(value: object) -> bytes:
    """Returns a value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def one_line(error: Exception) -> str:
    """Returns an error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
