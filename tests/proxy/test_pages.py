"""The pages as text: well-formed, escaped, and as their policy says."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterhat_proxy.cold import Waiting
from clusterhat_proxy.document import POLICY, STATUS_POLICY, error_page
from clusterhat_proxy.status_page import status_page
from clusterhat_proxy.waiting_page import SINGLY, waiting_page

VOID = {"meta", "link", "input", "br"}

NODES = {"p1": "ready", "p2": "on", "p3": "off", "p4": "failed"}


def view(**changes: Any) -> Waiting:
    whole: dict[str, Any] = {
        "node": "p2",
        "state": "on",
        "elapsed": 5.0,
        "expected": 20.0,
        "queue": 3,
        "nodes": NODES,
        "retry_after": 15,
    }
    return Waiting(**{**whole, **changes})


def node(**changes: Any) -> dict[str, Any]:
    whole = {
        "powered": True,
        "state": "ready",
        "in_flight": 3,
        "waiting": 0,
        "last_activity": 12.3,
        "boots": 2,
        "last_boot_seconds": 21.4,
        "seconds_powered": 812.0,
        "idle_off_in": 512.0,
        "address": "p1.local:80",
    }
    return {**whole, **changes}


PROXY = {
    "in_flight": 3,
    "waiting": 0,
    "tunnels": 0,
    "requests": 1234,
    "balance": "random",
    "mode": "forward",
    "idle_timeout": 600.0,
    "draining": False,
    "uptime": 12.0,
}
STATUS = {"boards": [{"board": "2.3", "backend": "sim"}], "nodes": {"p1": node()}, "proxy": PROXY}


class Page(HTMLParser):
    """Reads a document and refuses what is not well-formed."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.by_tag: dict[str, list[str]] = {}
        self.feed(document.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag} {attrs}"
        assert all(re.fullmatch("[a-z-]+", name) for name, _ in attrs), f"{tag} {attrs}"
        assert not any(name == "style" or name.startswith("on") for name, _ in attrs), "inline"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.by_tag.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.by_tag[self.open[-1]][-1] += data
            if self.open[-1] not in ("style", "script"):
                self.words += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def everything() -> dict[str, bytes]:
    return {
        "waiting": waiting_page(view(), reload=True),
        "not done": waiting_page(view(), reload=False),
        "full": waiting_page(view(node="", state="full"), reload=True),
        "failed": waiting_page(view(state="failed"), reload=True),
        "error": error_page(504, "Gateway Timeout", "p1 did not answer", 30),
        "status": status_page(STATUS, switch=False),
        "switches": status_page(STATUS, switch=True),
    }


@pytest.mark.parametrize("name", everything())
def test_every_page_is_complete_and_loads_nothing(name: str) -> None:
    document = everything()[name]
    page = Page(document)
    assert document.startswith(b"<!doctype html>")
    assert page.attributes("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.attributes("meta")
    assert len(page.by_tag["title"]) == len(page.by_tag["h1"]) == len(page.by_tag["main"]) == 1
    assert not any("src" in attributes for _, attributes in page.elements)
    assert [str(attributes["href"])[:5] for attributes in page.attributes("link")] == ["data:"]
    assert len(document) < 24_000


@pytest.mark.parametrize("name", everything())
def test_the_policy_has_the_hash_of_all_that_is_inline(name: str) -> None:
    page = Page(everything()[name])
    for tag in ("style", "script"):
        for text in page.by_tag.get(tag, []):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            allowed = next(part for part in POLICY.decode().split("; ") if part.startswith(f"{tag}-src "))
            assert f"'sha256-{digest}'" in allowed.split()
    assert b"unsafe" not in POLICY
    assert STATUS_POLICY.startswith(POLICY)


texts = st.one_of(
    st.text(), st.sampled_from(["<b>", '"', "'", "&amp;", "</title><script>alert(1)</script>", "$x"])
)
numbers = st.one_of(st.none(), st.floats(0, 1e9))


@given(texts, texts, texts, st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0), st.booleans())
def test_what_comes_from_outside_stays_text(
    name: str, state: str, other: str, elapsed: float, expected: float, queue: int, reload: bool
) -> None:
    nodes = {name: state, other: "off"}
    shown = view(node=name, state=state, elapsed=elapsed, expected=expected, queue=queue, nodes=nodes)
    page = Page(waiting_page(shown, reload=reload))
    assert tags(page) <= tags(Page(waiting_page(view(), reload=reload))) | {"p"}
    assert as_sent(name) in page.words

    page = Page(error_page(502, name, state))
    assert as_sent(name) in page.words
    assert as_sent(state) in page.words
    assert tags(page) == tags(Page(error_page(502, "", "")))


@given(texts, texts, numbers, st.booleans())
def test_a_status_stays_text_too(name: str, text: str, seconds: float | None, switch: bool) -> None:
    odd = node(state=text, failure=text, address=text, last_activity=seconds, idle_off_in=seconds)
    page = Page(status_page({**STATUS, "nodes": {name: odd}}, switch=switch))
    assert as_sent(name) in page.words
    assert page.words.count(as_sent(text)) >= 3
    assert tags(page) == tags(Page(status_page(STATUS, switch=switch)))


def tags(page: Page) -> set[str]:
    return {tag for tag, _ in page.elements}


def as_sent(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# The waiting page -----------------------------------------------------------------------------------


def refreshes(page: Page) -> list[str | None]:
    return [meta["content"] for meta in page.attributes("meta") if meta.get("http-equiv") == "refresh"]


def test_the_waiting_page_says_what_there_is_to_say() -> None:
    page = Page(waiting_page(view(), reload=True))
    assert page.by_tag["title"] == page.by_tag["h1"] == ["Starting p2"]
    assert page.attributes("progress") == [{"max": "1", "value": "0.2500", "aria-label": "Start of p2"}]
    for text in ("About 15 s left", "3 requests wait", "p1 ready", "p2 starting", "p3 off", "p4 failed"):
        assert text in page.words
    assert refreshes(page)[0] == "2"
    assert "not carried out" not in page.words


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"elapsed": 0.0, "expected": 89.0}, "About 89 s left"),
        ({"elapsed": 0.0, "expected": 90.5}, "About 2 min left"),
        ({"elapsed": 21.0}, "Taking longer than usual"),
        ({"expected": 0.0, "elapsed": 3.2}, "4 s so far"),
        ({"state": "full", "node": "", "retry_after": 7}, "Next try in 7 s"),
        ({"state": "failed", "retry_after": 60}, "Next try in 60 s"),
    ],
)
def test_the_time_left(changes: dict[str, Any], left: str) -> None:
    assert left in Page(waiting_page(view(**changes), reload=True)).words


def test_the_bar_never_says_that_the_node_is_ready() -> None:
    late = Page(waiting_page(view(elapsed=500.0), reload=True)).attributes("progress")
    assert late[0]["value"] == "0.9700"
    assert "value" not in Page(waiting_page(view(expected=0.0), reload=True)).attributes("progress")[0]


@pytest.mark.parametrize("state", ["full", "failed"])
def test_where_nothing_starts_there_is_no_bar_and_no_haste(state: str) -> None:
    page = Page(waiting_page(view(state=state, retry_after=20), reload=True))
    assert page.attributes("progress") == []
    assert refreshes(page)[0] == "20"


def test_a_request_that_was_not_carried_out_is_not_made_again() -> None:
    page = Page(waiting_page(view(), reload=False))
    assert "Your request was not carried out." in page.words
    assert refreshes(page) == []
    assert "data-reload" not in page.attributes("main")[0]


@pytest.mark.parametrize("state", ["unknown", "off", "queued", "on", "ready", "stopping", "failed", "full"])
def test_every_state_has_a_title(state: str) -> None:
    assert Page(waiting_page(view(state=state), reload=True)).by_tag["title"] != [""]


def test_many_nodes_are_counted() -> None:
    many = {f"p{n}": "ready" if n % 4 else "on" for n in range(10_000)}
    document = waiting_page(view(nodes=many), reload=True)
    assert "7500 ready" in Page(document).words
    assert "2500 starting" in Page(document).words
    few = dict(list(many.items())[:SINGLY])
    assert "p1 ready" in Page(waiting_page(view(nodes=few), reload=True)).words


# The status page ------------------------------------------------------------------------------------


def test_the_status_page_shows_the_cluster_without_scripts() -> None:
    page = Page(status_page(STATUS, switch=False))
    for text in (
        "Board 2.3, backend sim",
        "p1.local:80",
        "ready",
        "12 s ago",
        "8 min 32 s",
        "21.4 s",
        "1,234",
    ):
        assert text in page.words
    assert refreshes(page) == ["5"]
    assert page.attributes("form") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3599.0, "59 min 59 s"),
        (3600.0, "1 h"),
        (90061.0, "1 d 1 h"),
        (86400.0 * 30, "30 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    page = Page(status_page({**STATUS, "proxy": {**PROXY, "uptime": seconds}}, switch=False))
    assert page.by_tag["dd"][7] == text


def test_switches_are_plain_forms() -> None:
    page = Page(status_page({**STATUS, "nodes": {"p1": node(), "a b/c": node()}}, switch=True))
    targets = [button["formaction"] for button in page.attributes("button")]
    assert targets == ["nodes/p1/on", "nodes/p1/off", "nodes/a%20b%2Fc/on", "nodes/a%20b%2Fc/off"]
    forms = [form for form in page.attributes("form") if "action" in form]
    assert {form["method"] for form in forms} == {"post"}
    assert {(field["type"], field["name"]) for field in page.attributes("input")} == {("password", "token")}


def test_several_boards_and_a_status_with_gaps() -> None:
    boards = [{"board": "2.3", "backend": "i2c"}, {"board": "3.1", "backend": "gpiod"}]
    page = Page(status_page({"boards": boards, "nodes": {"p1": {}}}, switch=True))
    assert "Board 2.3, backend i2c, Board 3.1, backend gpiod" in page.words
    assert page.by_tag["dd"] == ["\u2013"] * len(page.by_tag["dd"])


def test_draining_is_said() -> None:
    def hidden(*, draining: bool) -> bool:
        page = Page(status_page({**STATUS, "proxy": {**PROXY, "draining": draining}}, switch=False))
        return next("hidden" in p for p in page.attributes("p") if p.get("class") == "draining")

    assert hidden(draining=False)
    assert not hidden(draining=True)
