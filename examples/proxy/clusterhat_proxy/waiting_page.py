"""The page while a node starts."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from .document import WAITING_JS, about, document, refresh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cold import Waiting

__all__ = ["waiting_page"]

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
    head = f"<noscript>{refresh(pause)}</noscript>\n{refresh(max(15, 2 * pause))}\n" if reload else ""
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
    return document(title, body, head=head, script=WAITING_JS)


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
            return f"{node} did not start", "It is not used for a while, and then tried again."
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
        return f"Next try in {about(view.retry_after)}"
    if view.expected <= 0:
        return f"{about(view.elapsed)} so far"
    return f"About {about(view.remaining)} left" if view.remaining else "Taking longer than usual"


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
