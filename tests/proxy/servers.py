"""Real servers as nodes' services: nginx and Node.js, each a process on loopback for the time of a test.

Where a program is missing the test is skipped, or fails if the environment has
CLUSTERHAT_TEST_REQUIRE_CLIENTS=1.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.proxy.running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["needed", "nginx", "nodejs"]

NODE_JS = Path(__file__).with_name("node_server.js")

# One process, which keeps the user that started it. A connection ends after a few requests.
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ text/html html; text/plain txt; }}
    client_max_body_size 0;
    keepalive_requests 5;
    gzip on;
    gzip_proxied any;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location /upload/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    }}
}}
"""


def needed(program: str, package: str | None = None) -> str:
    """The path of a program that the calling test needs."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        missing = f"no {program}: apt-get install {package or program}"
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_CLIENTS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


@contextmanager
def nginx(folder: Path, root: Path) -> Generator[int]:
    """Serves the files of ``root``, those under /upload/ for writing too. Yields the port. ``folder`` is for
    nginx's own files."""
    program = needed("nginx", "nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    settings = folder / "nginx.conf"
    settings.write_text(NGINX.format(folder=folder, port=port, root=root))
    argv = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(settings)]
    with _running(argv) as process:
        end = time.monotonic() + PATIENCE
        while not _is_open(port):
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < end, "nginx does not listen"
            time.sleep(0.02)
        yield port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nodejs() -> Generator[int]:
    """`node_server.js`. Yields its port."""
    with _running([needed("node", "nodejs"), str(NODE_JS)]) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else ""
        found = re.fullmatch(r"listening on (\d+)\n", line)
        assert found, f"Node.js said {line!r}"
        yield int(found[1])


@contextmanager
def _running(argv: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
