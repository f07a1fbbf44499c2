"""Takes the screenshots of the proxy's two pages with a headless Chromium, into docs/images.

    python docs/screenshots.py

It starts the proxy on the simulation. It needs the extra ``test``, and Chromium with its driver. The
pictures differ a little each time, so no test compares them: run it when a page has changed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Generator

IMAGES = Path(__file__).parent / "images"
OPTIONS = (
    *("--backend", "sim", "--board", "2.3", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
    *("--boot-time", "4", "--boot-estimate", "4", "--balance", "first", "--maxconn", "1"),
    *("--log-level", "warning", "--drain-timeout", "0"),
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
PATIENCE = 30.0


@contextmanager
def proxy() -> Generator[list[str]]:
    """Runs the proxy, and gives the addresses for clients and for the status page."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RPI_CLUSTERHAT_")}
    env["RPI_CLUSTERHAT_CONFIG"] = os.devnull
    argv = [sys.executable, "-m", "clusterhat_proxy", *OPTIONS]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().strip() for _ in range(2)]
            yield [line.rpartition("//")[2].rstrip("/") for line in lines]
        finally:
            process.terminate()


def chromium() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def take(driver: webdriver.Chrome, name: str, width: int) -> None:
    """Saves the page as a PNG that is as high as the page."""
    driver.set_window_size(width, 200)
    inner = driver.execute_script("return [window.innerWidth, window.innerHeight]")
    driver.set_window_size(2 * width - inner[0], 200)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(2 * width - inner[0], 200 + height - inner[1])
    driver.save_screenshot(str(IMAGES / name))


def ask(address: str) -> None:
    """Makes one request, and waits for its answer."""
    connection = HTTPConnection(address, timeout=PATIENCE)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with proxy() as (clients, admin):
        driver = chromium()
        wait = WebDriverWait(driver, PATIENCE)
        try:
            ask(clients)  # p1 is ready then
            host, _, port = clients.partition(":")
            with socket.create_connection((host, int(port))) as upload:
                # A request whose body is still to come keeps p1 busy, so that the next one starts p2.
                upload.sendall(b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 9\r\n\r\n1234")
                driver.get(f"http://{clients}/")
                wait.until(
                    lambda page: page.execute_script("return document.querySelector('progress').value > 0.3")
                )
                take(driver, "waiting.png", 640)
                driver.get(f"http://{admin}/")
                wait.until(lambda page: page.find_elements("css selector", "[data-link=live]"))
                take(driver, "status.png", 760)
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
