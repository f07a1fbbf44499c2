"""The pages in a real browser: with scripts and without, on a phone, in light and dark."""

from __future__ import annotations

import json
import queue
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from clusterhat_proxy.cold import Waiting
from clusterhat_proxy.document import POLICY, STATUS_POLICY, error_page
from clusterhat_proxy.status_page import status_page
from clusterhat_proxy.waiting_page import waiting_page

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.proxy.browser import Browser

pytest_plugins = ["tests.proxy.browser"]
pytestmark = pytest.mark.slow

LONG = "a-name-as-long-as-a-host-name-may-be-which-is-sixty-three-letters"
NODES = {"p1": "ready", "p2": "on", "p3": "off", "p4": "failed", LONG: "stopping"}


def view(**changes: Any) -> Waiting:
    whole: dict[str, Any] = {
        "node": "p2",
        "state": "on",
        "elapsed": 19.0,
        "expected": 20.0,
        "queue": 3,
        "nodes": NODES,
        "retry_after": 1,
    }
    return Waiting(**{**whole, **changes})


def status(**states: str) -> dict[str, Any]:
    nodes: dict[str, Any] = {
        name: {
            "powered": state != "off",
            "state": state,
            "in_flight": 1234,
            "waiting": 0,
            "last_activity": 7384.9,
            "boots": 2,
            "last_boot_seconds": 21.46,
            "seconds_powered": 93784.2,
            "idle_off_in": None,
            "address": f"{name}.local:80",
        }
        for name, state in {**NODES, **states}.items()
    }
    nodes["p4"]["failure"] = f"did not answer on {LONG}.local:80 within 120 s"
    proxy = {
        "in_flight": 3,
        "waiting": 0,
        "tunnels": 0,
        "requests": 1234567,
        "balance": "roundrobin",
        "mode": "forward",
        "idle_timeout": 600.0,
        "draining": False,
        "uptime": 60.0,
    }
    return {"boards": [{"board": "2.3", "backend": "sim"}], "nodes": nodes, "proxy": proxy}


PAGES = {
    "waiting": waiting_page(view(elapsed=1.0), reload=True),
    "not done": waiting_page(view(elapsed=1.0), reload=False),
    "unknown": waiting_page(view(expected=0.0), reload=True),
    "full": waiting_page(view(node="", state="full", retry_after=20), reload=True),
    "error": error_page(504, "The node did not answer", f"{LONG} got power and did not answer.", 30),
    "status": status_page(status(), switch=False),
    "switches": status_page(status(), switch=True),
}


# A server on loopback ---------------------------------------------------------------------------------


class Site:
    """What the tests' server says and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[], tuple[int, bytes]]] = {}
        self.policy = POLICY
        self.asked: list[tuple[str, str, str]] = []
        self.events: queue.Queue[bytes | None] = queue.Queue()
        self.url = ""

    def show(self, page: bytes, status: int = 200) -> None:
        self.pages["/"] = lambda: (status, page)

    def send(self, status: dict[str, Any]) -> None:
        self.events.put(f"data: {json.dumps(status)}\n\n".encode())

    def hang_up(self) -> None:
        self.events.put(None)


class Handler(BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        if self.path == "/events":
            self.stream()
        else:
            self.page()

    def do_POST(self) -> None:
        self.page(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def page(self, body: str = "") -> None:
        self.site.asked.append((self.command, self.path, body))
        status, page = self.site.pages.get(self.path, lambda: (404, b"nothing here"))()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Content-Security-Policy", self.site.policy.decode())
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"retry: 300\n\n")
        while (event := self.site.events.get()) is not None:
            self.wfile.write(event)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base's
        """Keeps quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing it waits for them

    def __init__(self, handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        """Ends the connections, those too that the browser opened and asked nothing on."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser may leave at any time."""


@contextmanager
def serving(site: Site) -> Generator[None]:
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = Server(handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        for _ in server.connections:
            site.hang_up()
        server.cut()
        server.server_close()


@pytest.fixture
def site(chromium: Browser) -> Iterator[Site]:
    site = Site()
    with serving(site):
        yield site
        chromium.open("about:blank")


def soon(browser: Browser, seconds: float, what: Callable[[], object]) -> None:
    WebDriverWait(browser.driver, seconds, 0.02).until(lambda _: what())


# All of them ------------------------------------------------------------------------------------------

CONTRAST = """
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const color = numbers(getComputedStyle(element).backgroundColor);
    if (color[3] !== 0) return color;
  }
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.tagName === "SCRIPT") continue;
  const both = [numbers(getComputedStyle(element).color), behind(element)].map(luminance);
  const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  found.push([ratio, element.outerHTML.slice(0, 80)]);
}
return found;
"""


@pytest.mark.parametrize("name", PAGES)
def test_light_and_dark_differ_and_can_be_read(browser: Browser, site: Site, name: str) -> None:
    site.show(PAGES[name])
    grounds: list[str] = []
    for scheme in ("light", "dark"):
        browser.media(prefers_color_scheme=scheme)
        browser.open(site.url)
        grounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        contrasts: list[list[Any]] = browser.run(CONTRAST)
        assert len(contrasts) >= 3
        assert [text for ratio, text in contrasts if ratio < 4.5] == []
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_on_a_phone(browser: Browser, site: Site, name: str, scripts: bool) -> None:
    site.show(PAGES[name])
    browser.window(360, 640, phone=True)
    browser.scripts(enabled=scripts)
    browser.open(site.url)
    inner, content = browser.run(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert (inner, content) == (360, 360)
    small = browser.run(
        """return [...document.querySelectorAll("button, input")].filter((e) => e.checkVisibility())
        .map((e) => e.getBoundingClientRect().height).filter((height) => height < 44)"""
    )
    assert small == []


@pytest.mark.parametrize("name", PAGES)
def test_the_console_stays_empty_and_nothing_else_is_loaded(browser: Browser, site: Site, name: str) -> None:
    site.show(PAGES[name])
    site.policy = STATUS_POLICY
    browser.open(site.url)
    browser.run("return document.title")
    assert browser.complaints() == []
    assert {path for _, path, _ in site.asked} == {"/"}


def test_a_script_that_is_not_ours_is_held_back_and_seen_here(browser: Browser, site: Site) -> None:
    site.show(PAGES["error"].replace(b"</main>", b"<script>document.title = 'caught'</script></main>"))
    browser.open(site.url)
    assert browser.run("return document.title") == "The node did not answer"
    assert any("Content Security Policy" in text for text in browser.complaints())


# Waiting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False])
def test_the_waiting_page_moves_on_to_the_nodes_answer(browser: Browser, site: Site, scripts: bool) -> None:
    def answer() -> tuple[int, bytes]:
        if len(site.asked) <= 2:
            return 503, waiting_page(view(), reload=True)
        return 200, b"<!doctype html><title>p2</title><h1>The node itself</h1>"

    site.pages["/"] = answer
    browser.scripts(enabled=scripts)
    browser.open(site.url)
    assert browser.text("h1") == "Starting p2"
    soon(browser, 10, lambda: browser.text("h1") == "The node itself")
    assert site.asked == [("GET", "/", "")] * 3
    assert browser.run("return location.href") == site.url
    assert browser.complaints() == []


def test_the_bar_moves_between_two_loads(browser: Browser, site: Site) -> None:
    site.show(waiting_page(view(elapsed=2.0), reload=True), 503)
    browser.open(site.url)
    bar = "return document.querySelector('progress').value"
    soon(browser, 3, lambda: float(browser.run(bar)) > 0.12)
    assert browser.text("[data-left]") in ("About 18 s left", "About 17 s left")
    assert len(site.asked) == 1


def test_a_boot_that_takes_longer_says_so(browser: Browser, site: Site) -> None:
    site.show(waiting_page(view(elapsed=19.7), reload=False), 503)
    browser.open(site.url)
    soon(browser, 3, lambda: browser.text("[data-left]") == "Taking longer than usual")
    assert browser.run("return document.querySelector('progress').value") == pytest.approx(0.97)


def test_a_request_that_was_not_carried_out_is_not_made_again(browser: Browser, site: Site) -> None:
    site.show(waiting_page(view(elapsed=19.9), reload=False), 503)
    browser.open(site.url)
    # The bar has moved on: the script ran, and would have set its timer.
    soon(browser, 3, lambda: browser.text("[data-left]") == "Taking longer than usual")
    pending = browser.run("return document.querySelector('main').dataset.reload ?? null")
    assert pending is None
    assert len(site.asked) == 1


# Status -----------------------------------------------------------------------------------------------


def shown(browser: Browser) -> str:
    return browser.text("main").replace("As of this page's loading", "Live")


def test_the_script_writes_as_the_server_does(browser: Browser, site: Site) -> None:
    site.show(PAGES["status"])
    browser.scripts(enabled=False)
    browser.open(site.url)
    drawn = shown(browser)
    nodes: dict[str, dict[str, Any]] = {name: {} for name in NODES}
    site.show(status_page({**status(), "proxy": {}, "nodes": nodes}, switch=False))
    browser.scripts(enabled=True)
    browser.open(site.url)
    site.send(status())
    soon(browser, 1, lambda: "1,234,567" in browser.text(".totals"))
    assert browser.text("main") == drawn
    assert browser.complaints() == []


def test_a_change_is_shown_within_a_second(browser: Browser, site: Site) -> None:
    site.show(PAGES["status"])
    browser.open(site.url)
    soon(browser, 5, lambda: browser.text("[data-link]") == "Live")
    state = "[data-node=p3] [data-field=state]"
    assert browser.text(state) == "off"
    site.send(status(p3="ready"))
    soon(browser, 1, lambda: browser.text(state) == "ready")
    assert browser.run("return document.querySelector(arguments[0]).dataset.state", state) == "ready"
    site.send({**status(), "proxy": {"draining": True}})
    soon(browser, 1, lambda: "draining" in browser.text(".draining"))
    assert site.asked == [("GET", "/", "")]
    assert browser.complaints() == []


def test_a_lost_connection_is_said_and_taken_up_again(browser: Browser, site: Site) -> None:
    site.show(PAGES["status"])
    browser.open(site.url)
    soon(browser, 5, lambda: browser.text("[data-link]") == "Live")
    browser.run("""
        const link = document.querySelector("[data-link]");
        window.seen = [];
        new MutationObserver(() => seen.push(link.innerText)).observe(link, { childList: true });
    """)
    site.hang_up()
    soon(browser, 5, lambda: browser.run("return window.seen") == ["Connection lost, retrying", "Live"])
    site.send(status(p3="ready"))
    soon(browser, 1, lambda: browser.text("[data-node=p3] [data-field=state]") == "ready")


def press(browser: Browser, node: str, which: str, token: str, field: str) -> None:
    browser.driver.find_element(By.CSS_SELECTOR, field).send_keys(token)
    browser.driver.find_element(By.CSS_SELECTOR, f"[data-node={node}] button[value={which}]").click()


def test_switching_does_not_leave_the_page(browser: Browser, site: Site) -> None:
    site.show(PAGES["switches"])
    site.pages["/nodes/p3/on"] = lambda: (200, b'{"detail": "p3 is on"}')
    site.pages["/nodes/p3/off"] = lambda: (403, b'{"title": "Forbidden", "detail": "wrong token"}')
    browser.open(site.url)
    result = "[data-node=p3] output"
    press(browser, "p3", "on", "s3cret&", ".switching input")
    soon(browser, 2, lambda: browser.text(result) == "On: p3 is on")
    press(browser, "p3", "off", "!", ".switching input")
    soon(browser, 2, lambda: browser.text(result) == "Off: wrong token")
    assert site.asked == [
        ("GET", "/", ""),
        ("POST", "/nodes/p3/on", "token=s3cret%26"),
        ("POST", "/nodes/p3/off", "token=s3cret%26%21"),
    ]
    assert browser.complaints() == []


def test_no_token_sends_nothing(browser: Browser, site: Site) -> None:
    site.show(PAGES["switches"])
    browser.open(site.url)
    press(browser, "p3", "on", "", ".switching input")
    assert browser.run("return document.activeElement.name") == "token"
    assert site.asked == [("GET", "/", "")]


def test_switching_without_scripts(browser: Browser, site: Site) -> None:
    site.show(PAGES["switches"])
    site.pages["/nodes/p3/off"] = lambda: (200, b"<!doctype html><title>p3</title><h1>p3 is off</h1>")
    browser.scripts(enabled=False)
    browser.open(site.url)
    assert not browser.driver.find_element(By.CSS_SELECTOR, ".switching").is_displayed()
    press(browser, "p3", "off", "s3cret", "[data-node=p3] input")
    soon(browser, 3, lambda: browser.text("h1") == "p3 is off")
    assert site.asked[1:] == [("POST", "/nodes/p3/off", "token=s3cret")]
