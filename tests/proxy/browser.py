"""A headless Chromium for the tests of pages. A test module asks for it by

    pytest_plugins = ["tests.proxy.browser"]

and gets the fixture `browser`. Where there is none the tests are skipped, or fail if the environment has
CLUSTERHAT_TEST_REQUIRE_CLIENTS=1.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Browser", "browser", "chromium"]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """The driver, and what of the DevTools protocol the tests use."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """What a function's body returns in the page. Works with the page's own scripts disabled too."""
        return self.driver.execute_script(script, *arguments)  # pyright: ignore[reportUnknownMemberType]

    def text(self, selector: str) -> str:
        """The text as shown of the first such element; empty where there is none, or none yet."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.run(script, selector))

    def complaints(self) -> list[str]:
        """What stands in the console since the last call: errors and warnings, those about policies included,
        without the statuses of answers."""
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": "browser"})["value"]
        return [
            str(entry["message"])
            for entry in entries
            if entry["level"] in ("SEVERE", "WARNING")
            and "the server responded with a status" not in entry["message"]
        ]

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)  # pyright: ignore[reportUnknownMemberType]

    def scripts(self, *, enabled: bool) -> None:
        self.command("Emulation.setScriptExecutionDisabled", value=not enabled)

    def media(self, **features: str) -> None:
        """`media(prefers_color_scheme="dark")`, say; without arguments: as the system has it."""
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=pairs)

    def window(self, width: int, height: int, *, phone: bool) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def reset(self) -> None:
        self.scripts(enabled=True)
        self.media()
        self.command("Emulation.clearDeviceMetricsOverride")
        self.open("about:blank")
        self.complaints()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the whole run. `browser` hands it out clean."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_CLIENTS") == "1":
            pytest.fail("no chromium or no chromedriver: apt-get install chromium chromium-driver")
        pytest.skip("no chromium or no chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A browser as it comes: scripts on, a desktop's window, nothing in the console."""
    chromium.reset()
    yield chromium
    chromium.reset()  # so that nothing goes on loading when the test's server is gone
