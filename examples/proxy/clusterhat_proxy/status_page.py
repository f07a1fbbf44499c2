"""The live page of the whole cluster."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .document import STATUS_JS, document, refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["status_page"]

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
    head = f"<noscript>{refresh(30 if switch else 5)}</noscript>\n"
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
    return document("Cluster HAT", body, head=head, script=STATUS_JS)


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
