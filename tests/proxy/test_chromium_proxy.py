"""A real proxy in a real browser: nodes without power that get it, with scripts and without."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.proxy.running import PATIENCE, Proxy
from tests.proxy.servers import nginx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.proxy.browser import Browser

pytest_plugins = ["tests.proxy.browser"]
pytestmark = pytest.mark.slow

TOKEN = "a-token-for-these-tests"
WITH_TOKEN = {"CLUSTERHAT_PROXY_ADMIN_TOKEN": TOKEN}


def soon(browser: Browser, seconds: float, what: Callable[[], object]) -> None:
    WebDriverWait(browser.driver, seconds, 0.02).until(lambda _: what())


def state(browser: Browser, node: str) -> str:
    return browser.text(f"[data-node={node}] [data-field=state]")


def fits_a_phone(browser: Browser) -> bool:
    root: tuple[int, int] = browser.run(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    return list(root) == [360, 360]


def starting(browser: Browser) -> str:
    """The node that the waiting page names."""
    found = re.fullmatch(r"Starting (p\d)|(p\d) is next to start", browser.text("h1"))
    assert found, browser.text("h1")
    return found[1] or found[2]


# Waiting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False])
def test_the_waiting_page_moves_on_to_the_node(browser: Browser, scripts: bool) -> None:
    with Proxy("--boot-time", "3", "--boot-estimate", "3") as proxy:
        browser.window(360, 640, phone=True)
        browser.scripts(enabled=scripts)
        began = time.monotonic()
        browser.open(f"{proxy.url}/some/page?and=more")
        name = starting(browser)
        assert browser.text(".nodes li:not([data-state=off]) b") == name
        assert fits_a_phone(browser)
        soon(browser, PATIENCE, lambda: browser.text("body").startswith("{"))
        assert 3 <= time.monotonic() - began < 3 + 2.5, "the page looks again within a second or two"
        seen = json.loads(browser.text("body"))
        # The node that was promised, though any of the four may be chosen, and no other has been started.
        assert (seen["node"], seen["target"]) == (name, "/some/page?and=more")
        assert [n for n, node in proxy.status()["nodes"].items() if node["boots"]] == [name]
        assert browser.run("return location.href") == f"{proxy.url}/some/page?and=more"
        assert browser.complaints() == []


def test_a_website_with_its_parts_comes_from_a_node_that_was_off(browser: Browser, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(
        "<!doctype html><title>nginx</title><link rel='icon' href='data:,'><h1>On a node</h1>"
        "<script>fetch('part.txt').then((r) => r.text()).then((t) => { document.body.append(t); });</script>"
    )
    (site / "part.txt").write_text("and a part of it")
    with (
        nginx(tmp_path / "nginx", site) as port,
        Proxy(
            "--nodes", "1", "--node", f"p1=127.0.0.1:{port}", "--ready-after", "1", "--boot-estimate", "1"
        ) as proxy,
    ):
        browser.open(proxy.url)
        assert starting(browser) == "p1"
        soon(browser, PATIENCE, lambda: "and a part of it" in browser.text("body"))
        assert browser.text("h1") == "On a node"
        assert browser.complaints() == []


# Status -------------------------------------------------------------------------------------------------


def test_the_status_page_shows_what_happens_within_a_second(browser: Browser) -> None:
    with Proxy("--nodes", "1", "--boot-time", "0.5", "--idle-timeout", "1", "--min-on-time", "0") as proxy:
        browser.window(360, 640, phone=True)
        browser.open(proxy.admin)
        soon(browser, PATIENCE, lambda: browser.text("[data-link]") == "Live")
        assert state(browser, "p1") == "off"
        assert proxy.request().status == 200
        soon(browser, 1, lambda: state(browser, "p1") == "ready")
        assert browser.text("[data-node=p1] [data-field=boots]") == "1"
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        soon(browser, 1, lambda: state(browser, "p1") == "off")
        assert fits_a_phone(browser)
        assert not browser.driver.find_elements(By.TAG_NAME, "button"), "there is no token"
        assert browser.complaints() == []


def test_the_status_page_without_scripts_shows_what_there_is(browser: Browser) -> None:
    with Proxy("--nodes", "1") as proxy:
        browser.scripts(enabled=False)
        browser.open(proxy.admin)
        assert state(browser, "p1") == "off"
        assert proxy.request().status == 200
        # It loads itself again after five seconds.
        soon(browser, 5 + PATIENCE, lambda: state(browser, "p1") == "ready")


# Switching by hand --------------------------------------------------------------------------------------


def press(browser: Browser, node: str, which: str) -> None:
    browser.driver.find_element(By.CSS_SELECTOR, f"[data-node={node}] button[value={which}]").click()


def fill_in(browser: Browser, field: str, token: str) -> None:
    element = browser.driver.find_element(By.CSS_SELECTOR, field)
    element.clear()
    element.send_keys(token)


def test_only_the_token_switches(browser: Browser) -> None:
    with Proxy("--min-on-time", "0", env=WITH_TOKEN) as proxy:
        browser.window(360, 640, phone=True)
        browser.open(proxy.admin)
        said = "[data-node=p2] output"
        field = ".switching input"
        press(browser, "p2", "on")
        assert browser.run("return document.activeElement.name") == "token", "nothing is sent without"
        fill_in(browser, field, TOKEN[:-1])
        press(browser, "p2", "on")
        soon(browser, PATIENCE, lambda: browser.text(said) == "On: the token is wrong")
        assert {node["state"] for node in proxy.status()["nodes"].values()} == {"off"}
        fill_in(browser, field, TOKEN)
        press(browser, "p2", "on")
        soon(browser, PATIENCE, lambda: browser.text(said) == "On: p2 starts")
        proxy.until(lambda status: status["nodes"]["p2"]["state"] == "ready")
        soon(browser, 1, lambda: state(browser, "p2") == "ready")
        press(browser, "p2", "off")
        soon(browser, PATIENCE, lambda: browser.text(said) == "Off: p2 goes off")
        soon(browser, PATIENCE, lambda: state(browser, "p2") == "off")
        assert fits_a_phone(browser)
        assert browser.complaints() == []


def test_only_the_token_switches_without_scripts_too(browser: Browser) -> None:
    with Proxy(env=WITH_TOKEN) as proxy:
        browser.scripts(enabled=False)
        browser.open(proxy.admin)
        fill_in(browser, "[data-node=p3] input", "another")
        press(browser, "p3", "on")
        soon(browser, PATIENCE, lambda: "the token is wrong" in browser.text("main"))
        browser.open(proxy.admin)
        assert {state(browser, f"p{i}") for i in range(1, 5)} == {"off"}
        fill_in(browser, "[data-node=p3] input", TOKEN)
        press(browser, "p3", "on")
        # Back on the page that the form was on.
        soon(browser, PATIENCE, lambda: state(browser, "p3") in ("queued", "on", "ready"))
        assert browser.run("return location.pathname") == "/"
        proxy.until(lambda status: status["nodes"]["p3"]["state"] == "ready")
