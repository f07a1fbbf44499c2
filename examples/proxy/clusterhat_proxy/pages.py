"""What people see: the page while a node starts, the page for an error, the live page of the whole cluster.

Each is one document that loads nothing else: among the nodes' own paths is no room for a second file. They
work without scripts too, by loading themselves again; the scripts only make them calmer. Markup, style and
scripts are the files next to this one.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .cold import Waiting

__all__ = ["POLICY", "STATUS_POLICY", "error_page", "status_page", "waiting_page"]


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_PAGE = Template(_file("page.html"))
_STYLE, _WAITING_JS, _STATUS_JS = _file("page.css"), _file("waiting.js"), _file("status.js")

POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_WAITING_JS)} {_hash(_STATUS_JS)}; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'"
).encode()
"""The Content-Security-Policy for all of these pages."""

STATUS_POLICY = POLICY + b"; frame-ancestors 'none'"
"""The same for the status page: a page with switches is not to be shown inside of another."""


def _page(title: str, body: str, *, head: str = "", script: str = "") -> bytes:
    if script:
        body = f"{body}\n<script>{script}</script>"
    text = _PAGE.substitute(title=escape(title), head=head, style=_STYLE, body=body)
    return text.encode("utf-8", "replace")


def _refresh(seconds: float) -> str:
    return f'<meta http-equiv="refresh" content="{seconds:g}">'


# While a node starts --------------------------------------------------------------------------------

MOST = 0.97
"""How far the bar goes on its own: only the node itself says that it is ready."""

WORDS = {
    "on": "starting",
    "queued": "waiting for power",
    "booting": "starting",
    "stopping": "switching off",
}
"""States by other words than the library's, for people who have not read its documentation."""

SINGLY = 24
"""With more nodes than this they are counted by state."""


def waiting_page(view: Waiting, *, reload: bool) -> bytes:
    """Makes the page for a request whose node is not ready yet.

    It is sent with 503, `Retry-After`, `POLICY` and `Cache-Control: no-store`.

    Args:
        view: What is known of the node.
        reload: Whether the request may simply be made again (GET, HEAD). Then the page does so until the node
            answers; otherwise it says that the request was not carried out.

    Returns:
        The page as UTF-8.
    """
    title, text = _what_happens(view)
    starts = view.state not in ("full", "failed")
    pause = 2 if starts else min(max(view.retry_after, 2), 30)
    # The script moves the bar by itself, and needs to ask less often while there is time.
    soon = min(max(view.remaining / 2, 1.0), 5.0) if starts and view.remaining else pause
    # Last, for a browser that has scripts and does not run this one.
    head = f"<noscript>{_refresh(pause)}</noscript>\n{_refresh(max(15, 2 * pause))}\n" if reload else ""
    body = f"""\
<main class="notice"{_moving(view) if starts else ""}{f' data-reload="{soon:.2f}"' if reload else ""}>
<div class="card">
<div role="status">
<h1>{escape(title)}</h1>
<p class="quiet">{escape(text)}</p>
</div>
{_progress(view) if starts else ""}
<p class="ends quiet"><span data-left>{_left(view, starts=starts)}</span><span>{_queue(view.queue)}</span></p>
{"" if reload else _NOT_DONE}
{_nodes(view.nodes)}
</div>
{_MOVES_ON if reload else ""}
</main>"""
    return _page(title, body, head=head, script=_WAITING_JS)


_MOVES_ON = '<p class="foot quiet">This page moves on by itself.</p>'

_NOT_DONE = """\
<p class="warning" role="status"><strong>Your request was not carried out.</strong>
Send it again when the node is ready.</p>"""


def _what_happens(view: Waiting) -> tuple[str, str]:
    node = view.node or "a node"
    match view.state:
        case "queued":
            return f"{node} is next to start", "Nodes get their power one after the other."
        case "on" | "booting":
            return f"Starting {node}", "It was off, and was switched on for you."
        case "stopping":
            return f"Restarting {node}", "It is just switching off, and starts again after that."
        case "failed":
            return f"{node} did not start", "It is left alone for a while before the next try."
        case "full":
            return "All nodes are busy", "You get the next one that is free."
        case _:
            return f"Waiting for {node}", "It will answer in a moment."


def _moving(view: Waiting) -> str:
    return f' data-elapsed="{view.elapsed:.2f}" data-expected="{view.expected:.2f}" data-most="{MOST}"'


def _progress(view: Waiting) -> str:
    value = f' value="{min(max(view.elapsed, 0) / view.expected, MOST):.4f}"' if view.expected > 0 else ""
    return f'<progress max="1"{value} aria-label="Start of {escape(view.node or "a node")}"></progress>'


def _left(view: Waiting, *, starts: bool) -> str:
    if not starts:
        return f"Next try in {_about(view.retry_after)}"
    if view.expected <= 0:
        return f"{_about(view.elapsed)} so far"
    return f"About {_about(view.remaining)} left" if view.remaining else "Taking longer than usual"


def _about(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{math.ceil(seconds / 60)} min"


def _queue(requests: int) -> str:
    if not requests:
        return ""
    return "1 request waits" if requests == 1 else f"{requests} requests wait"


def _nodes(states: Mapping[str, str]) -> str:
    if len(states) > SINGLY:
        rows = [(str(count), state) for state, count in Counter(states.values()).most_common()]
    else:
        rows = list(states.items())
    items = (
        f'<li data-state="{escape(state)}"><b>{escape(name)}</b> {escape(WORDS.get(state, state))}</li>\n'
        for name, state in rows
    )
    return f'<ul class="nodes" aria-label="Nodes">\n{"".join(items)}</ul>' if rows else ""


# When it went wrong ---------------------------------------------------------------------------------


def error_page(status: int, title: str, detail: str, retry_after: int | None = None) -> bytes:
    """The page for an error of the proxy's own (502, 503, 504), as UTF-8. Does nothing by itself."""
    again = f'<p class="quiet">Try again in {_about(retry_after)}.</p>' if retry_after is not None else ""
    body = f"""\
<main class="notice">
<div class="card">
<p class="code">Error {status}</p>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(detail)}</p>
{again}
</div>
</main>"""
    return _page(title, body)


# The whole cluster ----------------------------------------------------------------------------------

NONE = "\u2013"


def _seconds(value: float) -> str:
    """The two largest units. status.js has the same."""
    whole = math.floor(value)
    if whole < 60:
        return f"{whole} s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    n = next(n for n, (size, _) in enumerate(units) if whole >= size)
    (size, unit), (smaller, its_unit) = units[n : n + 2]
    rest = whole % size // smaller
    return f"{whole // size} {unit} {rest} {its_unit}" if rest else f"{whole // size} {unit}"


FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "count": lambda value: f"{value:,}",
    "tenths": lambda value: f"{math.floor(value * 10) / 10:.1f} s",
    "seconds": _seconds,
    "ago": lambda value: f"{' '.join(_seconds(value).split()[:2])} ago",
}

PROXY_FACTS = (
    ("requests", "Requests", "count"),
    ("in_flight", "In flight", "count"),
    ("waiting", "Waiting", "count"),
    ("tunnels", "Tunnels", "count"),
    ("balance", "Balance", "text"),
    ("mode", "Mode", "text"),
    ("idle_timeout", "Idle time-out", "seconds"),
    ("uptime", "Up for", "seconds"),
)

NODE_FACTS = (
    ("in_flight", "In flight", "count"),
    ("waiting", "Waiting", "count"),
    ("last_activity", "Last active", "ago"),
    ("idle_off_in", "Goes off in", "seconds"),
    ("boots", "Boots", "count"),
    ("last_boot_seconds", "Last boot took", "tenths"),
    ("seconds_powered", "On in total", "seconds"),
)


def status_page(status: Mapping[str, Any], *, switch: bool) -> bytes:
    """The live page for people, as UTF-8, of what `/status` says. To be sent with `STATUS_POLICY`.

    It stands at the admin side's root: next to it are `events`, a stream of the same JSON, and with `switch`
    `nodes/<name>/on` and `/off`, which take a POST with the form field `token`.
    """
    proxy: Mapping[str, Any] = status.get("proxy", {})
    nodes: Mapping[str, Mapping[str, Any]] = status.get("nodes", {})
    # A page with fields leaves more time to fill them in.
    head = f"<noscript>{_refresh(30 if switch else 5)}</noscript>\n"
    body = f"""\
<main class="status">
<header>
<div><h1>Cluster HAT</h1><p class="quiet">{escape(_boards(status))}</p></div>
<p class="link quiet" role="status" data-link="">As of this page's loading</p>
</header>
<p class="draining" role="status"{"" if proxy.get("draining") else " hidden"}>The proxy is draining:
it finishes what is in flight and takes nothing new.</p>
<dl class="totals">
{_facts(PROXY_FACTS, proxy)}</dl>
{_ONE_FIELD if switch else ""}
<div class="cards">
{"".join(_card(name, node, switch=switch) for name, node in nodes.items())}</div>
</main>"""
    return _page("Cluster HAT", body, head=head, script=_STATUS_JS)


_ONE_FIELD = """\
<form class="switching" hidden>
<label>Token for switching by hand
<input type="password" name="token" autocomplete="current-password" required></label>
</form>"""


def _boards(status: Mapping[str, Any]) -> str:
    boards: list[Mapping[str, Any]] = status["boards"]
    return ", ".join(
        f"Board {board.get('board', NONE)}, backend {board.get('backend', NONE)}" for board in boards
    )


def _facts(facts: tuple[tuple[str, str, str], ...], values: Mapping[str, Any]) -> str:
    return "".join(
        f'<div><dt>{label}</dt><dd data-field="{field}" data-format="{form}">'
        f"{_shown(values.get(field), form)}</dd></div>\n"
        for field, label, form in facts
    )


def _shown(value: object, form: str) -> str:
    return NONE if value is None else escape(FORMATS[form](value))


def _card(name: str, node: Mapping[str, Any], *, switch: bool) -> str:
    state = escape(str(node.get("state", "unknown")))
    return f"""\
<article class="node" data-node="{escape(name)}">
<h2><span>{escape(name)}</span>
<span data-field="state" data-format="text" data-state="{state}">{state}</span></h2>
<p class="address quiet" data-field="address" data-format="text">{_shown(node.get("address"), "text")}</p>
{_optional("failure", node.get("failure"))}
<dl>
{_facts(NODE_FACTS, node)}</dl>
{_switches(name) if switch else ""}
</article>
"""


def _optional(field: str, value: object) -> str:
    hidden = " hidden" if value is None else ""
    return (
        f'<p class="{field}" data-field="{field}" data-format="text" data-optional{hidden}>'
        f"{_shown(value, 'text')}</p>"
    )


def _switches(name: str) -> str:
    path, shown = escape(f"nodes/{quote(name, safe='')}"), escape(name)
    return f"""\
<form method="post" action="{path}/on">
<label>Token <input type="password" name="token" autocomplete="current-password" required></label>
<button value="on" formaction="{path}/on" aria-label="Switch {shown} on">On</button>
<button value="off" formaction="{path}/off" aria-label="Switch {shown} off">Off</button>
<output></output>
</form>"""
