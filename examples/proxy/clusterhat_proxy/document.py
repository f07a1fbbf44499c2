"""A document for people, which loads nothing else: among the nodes' own paths is no room for a second file.

Pages work without scripts too, by loading themselves again; the scripts only make them calmer. Markup, style
and scripts are the files next to this one.
"""

from __future__ import annotations

import base64
import hashlib
import math
from html import escape
from pathlib import Path
from string import Template

__all__ = ["POLICY", "STATUS_JS", "STATUS_POLICY", "WAITING_JS", "about", "document", "error_page", "refresh"]


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_PAGE = Template(_file("page.html"))
_STYLE, WAITING_JS, STATUS_JS = _file("page.css"), _file("waiting.js"), _file("status.js")

POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(WAITING_JS)} {_hash(STATUS_JS)}; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'"
).encode()
"""The Content-Security-Policy for all of these pages."""

STATUS_POLICY = POLICY + b"; frame-ancestors 'none'"
"""The same for the status page: a page with switches is not to be shown inside of another."""


def document(title: str, body: str, *, head: str = "", script: str = "") -> bytes:
    """Returns a whole page as UTF-8."""
    if script:
        body = f"{body}\n<script>{script}</script>"
    text = _PAGE.substitute(title=escape(title), head=head, style=_STYLE, body=body)
    return text.encode("utf-8", "replace")


def refresh(seconds: float) -> str:
    """Returns an element by which the page loads itself again."""
    return f'<meta http-equiv="refresh" content="{seconds:g}">'


def about(seconds: float) -> str:
    """Returns a time as people say it."""
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"


def error_page(status: int, title: str, detail: str, retry_after: int | None = None) -> bytes:
    """The page for an error of the proxy's own (502, 503, 504), as UTF-8. Does nothing by itself."""
    again = f'<p class="quiet">Try again in {about(retry_after)}.</p>' if retry_after is not None else ""
    body = f"""\
<main class="notice">
<div class="card">
<p class="code">Error {status}</p>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(detail)}</p>
{again}
</div>
</main>"""
    return document(title, body)
