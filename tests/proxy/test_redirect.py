"""--mode redirect: the client is sent to the node itself once that is ready."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing

import pytest

from tests.proxy.running import PATIENCE, Proxy

pytestmark = pytest.mark.slow

REDIRECT = ("--mode", "redirect", "--balance", "first")


def raw(proxy: Proxy, method: str, target: bytes, *fields: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head = b"\r\n".join([method.encode() + b" " + target + b" HTTP/1.1", b"Host: c", *fields])
    answer, _, body = proxy.ask(head + b"\r\nConnection: close\r\n\r\n").partition(b"\r\n\r\n")
    line, *lines = answer.split(b"\r\n")
    return line, dict(one.split(b": ", 1) for one in lines), body


def test_once_ready_the_client_is_sent_to_the_node() -> None:
    with Proxy("--cold", "hold", *REDIRECT) as proxy:
        reply = proxy.request("/a/b?c=d")
        address = proxy.status()["nodes"]["p1"]["address"]
        assert reply.status == 307
        assert reply.headers["Location"] == f"http://{address}/a/b?c=d"
        assert reply.headers["Cache-Control"] == "no-store"  # the next time it may be another node
        host, _, port = address.rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=PATIENCE)) as connection:
            connection.request("GET", "/a/b?c=d")
            with connection.getresponse() as answer:
                assert answer.status == 200
                assert b'"target":"/a/b?c=d"' in answer.read()


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"//double//slash/../up/./here",
        b"/%00%2F%2f%41?x=%zz&&=;,:@!$'()*+#",
        b"/a?b?c/../d",
        b"/with;params=1,2",
        b"/" + b"long/" * 1000,
        b'/|^`{}"<>\\',
    ],
)
def test_path_and_query_are_kept_to_the_byte(target: bytes) -> None:
    with Proxy("--cold", "hold", *REDIRECT) as proxy:
        line, fields, _ = raw(proxy, "GET", target)
        address = proxy.status()["nodes"]["p1"]["address"].encode()
        assert line == b"HTTP/1.1 307 Temporary Redirect"
        assert fields[b"Location"] == b"http://" + address + target


def test_what_a_request_names_does_not_say_where_it_is_sent() -> None:
    with Proxy("--cold", "hold", *REDIRECT) as proxy:
        line, fields, _ = raw(proxy, "GET", b"http://elsewhere.example/path?query", b"X-Forwarded-Host: evil")
        address = proxy.status()["nodes"]["p1"]["address"].encode()
        assert line.startswith(b"HTTP/1.1 307 ")
        assert fields[b"Location"] == b"http://" + address + b"/path?query"
        _, fields, _ = raw(proxy, "OPTIONS", b"*")
        assert fields[b"Location"] == b"http://" + address + b"/"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "REPORT", "HEAD"])
def test_any_method_is_sent_on(method: str) -> None:
    """307 has the client repeat method and body, which are not read here."""
    with Proxy("--cold", "hold", *REDIRECT) as proxy:
        proxy.request()
        body = b"" if method == "HEAD" else b"0123456789"
        line, fields, rest = raw(proxy, method, b"/form", b"Content-Length: %d" % len(body))
        assert line.startswith(b"HTTP/1.1 307 ")
        assert fields[b"Location"].endswith(b"/form")
        assert rest == b""


def test_a_browser_that_waits_sees_the_page_first() -> None:
    with Proxy("--cold", "auto", *REDIRECT) as proxy:
        accept = {"Accept": "text/html"}
        reply = proxy.request("/x", headers=accept)
        assert reply.status == 503
        assert reply.headers["Retry-After"]
        assert reply.headers["Content-Type"].startswith("text/html")
        cookie = reply.headers["Set-Cookie"].partition(";")[0]
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "ready")
        reply = proxy.request("/x", headers={**accept, "Cookie": cookie})
        assert reply.status == 307
        assert reply.headers["Location"].endswith("/x")


def test_a_node_goes_off_as_after_any_request() -> None:
    """What the client does with the node itself is not seen here; the network counters do."""
    with Proxy("--cold", "hold", *REDIRECT, "--idle-timeout", "0.3", "--min-on-time", "0") as proxy:
        assert proxy.request().status == 307
        proxy.until(lambda status: not status["nodes"]["p1"]["powered"])


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [("127.0.0.1", 0, "127.0.0.1:{}"), ("::1", 0, "[::1]:{}"), ("127.80.80.80", 80, "127.80.80.80")],
)
def test_the_forms_of_an_address(host: str, port: int, place: str) -> None:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        pytest.skip(f"nothing can listen on {host}: {error.strerror}")
    with listener:
        port = listener.getsockname()[1]
        node = f"p1=[{host}]:{port}" if ":" in host else f"p1={host}:{port}"
        with Proxy("--cold", "hold", *REDIRECT, "--node", node, "--nodes", "1", "--probe", "tcp") as proxy:
            assert proxy.request("/x").headers["Location"] == f"http://{place.format(port)}/x"
