"""Clients and servers that others have written, with the proxy between them."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import re
import subprocess
import time
from contextlib import closing
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.peers.bodies import pattern
from tests.proxy.running import PATIENCE, Proxy
from tests.proxy.servers import needed, nginx, nodejs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

TEXT = "All work and no play makes a node a dull node.\n" * 400
BIG = 20_000_000


def some(size: int) -> bytes:
    """Bytes that nobody can compress or guess."""
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def only(port: int) -> list[str]:
    """Options for a cluster of one node, which answers there."""
    return ["--nodes", "1", "--node", f"p1=127.0.0.1:{port}", "--boot-time", "0"]


@pytest.fixture(scope="module")
def sim() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that nginx serves."""
    root = tmp_path_factory.mktemp("site")
    (root / "text.txt").write_text(TEXT)
    (root / "big").write_bytes(some(BIG))
    (root / "upload").mkdir()
    return root


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Proxy]:
    """A proxy before nginx."""
    with nginx(tmp_path_factory.mktemp("nginx"), site) as port, Proxy(*only(port)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def node() -> Iterator[Proxy]:
    """A proxy before Node.js."""
    with nodejs() as port, Proxy(*only(port)) as proxy:
        yield proxy


# curl ---------------------------------------------------------------------------------------------------


def curl(*arguments: str, data: bytes | None = None, code: int = 0) -> bytes:
    """What curl writes to standard output; it has to end with this exit code."""
    quiet = ["--silent", "--show-error", "--max-time", "15", "--noproxy", "*"]
    argv = [needed("curl"), "-q", *quiet, *arguments]
    ran = subprocess.run(argv, input=data, capture_output=True, timeout=2 * PATIENCE, check=False)
    assert ran.returncode == code, ran.stderr.decode()
    return ran.stdout


def fields(said: bytes) -> tuple[str, dict[str, str]]:
    """The status line and the fields of what ``--include`` shows first, names in lower case."""
    first, *lines = said.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in pairs}


def test_curl_gets(sim: Proxy) -> None:
    said = curl("--include", "--header", "X-Mine: a;b", f"{sim.url}/a%2Fb/../c?d=%20&e", "--path-as-is")
    status, answered = fields(said)
    assert status == "HTTP/1.1 200 OK"
    assert answered["via"] == "1.1 rpi-clusterhat"
    seen = json.loads(said.partition(b"\r\n\r\n")[2])
    assert (seen["method"], seen["target"]) == ("GET", "/a%2Fb/../c?d=%20&e")
    assert ["X-Mine", "a;b"] in seen["headers"]
    assert ["Host", f"127.0.0.1:{sim.port}"] in seen["headers"]


def test_curl_heads(sim: Proxy) -> None:
    status, answered = fields(curl("--head", f"{sim.url}/?size=12345"))
    assert status == "HTTP/1.1 200 OK"
    assert answered["content-length"] == "12345"


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_curl_posts(sim: Proxy, size: int) -> None:
    seen = json.loads(curl("--data-binary", "@-", f"{sim.url}/form", data=some(size)))
    assert (seen["method"], seen["body"]) == ("POST", {"length": size, "sha256": digest(some(size))})


def test_curl_uploads_in_chunks_what_it_reads(sim: Proxy) -> None:
    data = some(3_000_000)
    seen = json.loads(curl("--upload-file", "-", f"{sim.url}/put", data=data))
    assert (seen["method"], seen["body"]) == ("PUT", {"length": len(data), "sha256": digest(data)})
    assert ["Transfer-Encoding", "chunked"] in seen["headers"]


def test_curl_speaks_http_1_0(sim: Proxy) -> None:
    said = curl("--http1.0", "--include", f"{sim.url}/?chunks=3&size=1000")
    status, answered = fields(said)
    assert status.split()[1] == "200"
    assert "transfer-encoding" not in answered
    assert said.partition(b"\r\n\r\n")[2] == pattern(1000) * 3
    seen = json.loads(curl("--http1.0", "--data-binary", "@-", sim.url, data=b"some"))
    assert seen["body"]["length"] == 4
    assert seen["version"] == "HTTP/1.1"


def test_curl_waits_for_100_continue(sim: Proxy) -> None:
    data = some(8_000_000)
    asks = ("--header", "Expect: 100-continue", "--expect100-timeout", "14")
    said = curl("--include", *asks, "--data-binary", "@-", sim.url, data=data)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert json.loads(said.rpartition(b"\r\n\r\n")[2])["body"]["sha256"] == digest(data)


def test_curl_sends_no_body_that_is_refused_before(node: Proxy) -> None:
    asks = ("--header", "Expect: 100-continue", "--expect100-timeout", "14")
    show = ("--write-out", "%{http_code} %{size_upload}")
    assert curl(*asks, *show, "--data-binary", "@-", f"{node.url}/refuse", data=some(8_000_000)) == (
        b"too much413 0"
    )


def test_curl_uses_a_connection_again(sim: Proxy) -> None:
    each = ("--write-out", r"\n%{num_connects}\n")
    said = curl(
        *each, f"{sim.url}/one", f"{sim.url}/two?chunks=2", f"{sim.url}/three?status=404"
    ).splitlines()
    assert [line for line in said if len(line) == 1] == [b"1", b"0", b"0"]


def test_curl_follows_to_the_node() -> None:
    with Proxy("--mode", "redirect", "--nodes", "1") as proxy:
        show = ("--write-out", r"\n%{num_redirects} %{url_effective}")
        said = curl("--location", *show, "--data-binary", "@-", f"{proxy.url}/a/b?c=d", data=b"kept")
        body, _, followed = said.decode().rpartition("\n")
        address = proxy.status()["nodes"]["p1"]["address"]
        assert followed == f"1 http://{address}/a/b?c=d"
        seen = json.loads(body)
        assert (seen["method"], seen["body"]["sha256"]) == ("POST", digest(b"kept"))


def test_curl_is_held_while_a_node_starts_and_comes_again_where_it_asks_for_pages() -> None:
    with Proxy("--boot-time", "0.4", "--nodes", "1", "--idle-timeout", "0.3", "--min-on-time", "0") as proxy:
        seen = json.loads(curl("--data-binary", "@-", proxy.url, data=b"held"))
        assert seen["body"]["sha256"] == digest(b"held")
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        page = ("--header", "Accept: text/html", "--include")
        status, answered = fields(curl(*page, proxy.url))
        assert status.split()[1] == "503"
        assert int(answered["retry-after"]) >= 1
    with Proxy("--boot-time", "0.4", "--boot-estimate", "1", "--nodes", "1") as proxy:
        said = curl("--retry", "5", "--fail", "--header", "Accept: text/html", proxy.url)
        assert json.loads(said)["node"] == "p1"


def test_curl_tells_a_cut_answer_from_a_whole_one(sim: Proxy) -> None:
    reset = 56  # which may take with it what is under way
    assert pattern(50000).startswith(curl(f"{sim.url}/?size=100000&cut=50000", code=reset))
    assert b"hello".startswith(curl(f"{sim.url}/?raw=short-chunks", code=reset))


# nginx --------------------------------------------------------------------------------------------------


def test_a_big_file_arrives_as_it_is(web: Proxy, site: Path) -> None:
    said = curl(f"{web.url}/big")
    assert digest(said) == digest((site / "big").read_bytes())


def test_ranges(web: Proxy) -> None:
    data = some(BIG)
    status, answered = fields(said := curl("--include", "--range", "1000-1999", f"{web.url}/big"))
    assert (status, answered["content-range"]) == ("HTTP/1.1 206 Partial Content", f"bytes 1000-1999/{BIG}")
    assert said.partition(b"\r\n\r\n")[2] == data[1000:2000]
    assert curl("--range", "-7", f"{web.url}/big") == data[-7:]
    several = curl("--range", "0-9,100-109", f"{web.url}/big")
    assert data[:10] in several
    assert data[100:110] in several
    assert fields(curl("--include", "--range", f"{BIG}-", f"{web.url}/big"))[0].split()[1] == "416"


def test_a_download_is_resumed(web: Proxy, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(some(BIG)[:15_000_000])
    curl("--continue-at", "-", "--output", str(part), f"{web.url}/big")
    assert digest(part.read_bytes()) == digest(some(BIG))


def test_what_is_known_already_is_not_sent_again(web: Proxy, tmp_path: Path) -> None:
    tag = str(tmp_path / "tag")
    assert curl("--etag-save", tag, f"{web.url}/text.txt").decode() == TEXT
    said = curl("--etag-compare", tag, "--include", f"{web.url}/text.txt")
    status, answered = fields(said)
    assert status == "HTTP/1.1 304 Not Modified"
    assert answered["etag"]
    assert "transfer-encoding" not in answered
    assert said.endswith(b"\r\n\r\n")


def test_compressed_answers_stay_compressed(web: Proxy) -> None:
    said = curl("--header", "Accept-Encoding: gzip", "--include", f"{web.url}/text.txt")
    _, answered = fields(said)
    assert answered["content-encoding"] == "gzip"
    assert len(said) < len(TEXT) / 10
    assert curl("--compressed", f"{web.url}/text.txt").decode() == TEXT


@pytest.mark.parametrize("how", ["length", "chunks"])
def test_uploads_are_written_as_they_are(web: Proxy, site: Path, tmp_path: Path, how: str) -> None:
    data = some(5_000_000)
    (tmp_path / "data").write_bytes(data)
    source, given = (str(tmp_path / "data"), None) if how == "length" else ("-", data)
    show = ("--write-out", "%{http_code}")
    assert curl("--upload-file", source, *show, f"{web.url}/upload/{how}", data=given) == b"201"
    assert digest((site / "upload" / how).read_bytes()) == digest(data)
    assert curl("--request", "DELETE", *show, f"{web.url}/upload/{how}") == b"204"
    assert not (site / "upload" / how).exists()


def test_a_server_that_ends_its_connections_is_asked_on_new_ones(web: Proxy) -> None:
    """nginx is set to end each after five requests, which shows nobody."""
    urls = [f"{web.url}/text.txt?{number}" for number in range(23)]
    said = curl("--write-out", r"%{http_code} %{num_connects}\n", "--output", os.devnull, *urls)
    answers = re.findall(rb"(\d{3}) (\d)\n", said)
    assert answers == [(b"200", b"1"), *[(b"200", b"0")] * 22]


# Node.js ------------------------------------------------------------------------------------------------


def test_nodejs_sees_the_request_as_it_was_sent(node: Proxy) -> None:
    seen = json.loads(curl("--request", "PATCH", "--data-binary", "@-", f"{node.url}/echo?x", data=b"body"))
    assert (seen["method"], seen["url"], seen["version"]) == ("PATCH", "/echo?x", "1.1")
    assert (seen["length"], seen["sha256"]) == (4, digest(b"body"))


def test_chunks_trailers_and_hints_of_nodejs(node: Proxy) -> None:
    assert curl(f"{node.url}/chunked") == b"one two three"
    said = curl("--include", "--raw", "--header", "TE: trailers", f"{node.url}/trailers")
    assert said.endswith(b"0\r\nX-Sum: 6\r\n\r\n")
    said = curl("--include", f"{node.url}/hints")
    assert said.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert said.endswith(b"hinted")


def test_trailers_of_a_request_reach_nodejs(node: Proxy) -> None:
    with node.connect() as raw:
        raw.sendall(
            b"POST /echo HTTP/1.1\r\nHost: n\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
            b"Trailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 4\r\n\r\n"
        )
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert json.load(answer)["trailers"] == {"x-sum": "4"}


def test_events_come_one_by_one_and_end_when_the_client_leaves(node: Proxy) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
        with connection.getresponse() as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            told = [line for line in islice(stream, 10) if line.strip()]
    assert told == [b"data: %d\n" % n for n in range(5)]
    end = time.monotonic() + PATIENCE
    while node.request("/echo").json["left"] < 1:
        assert time.monotonic() < end, "Node.js still sends"


def test_a_websocket_of_nodejs(node: Proxy) -> None:
    with websocket(node) as socket:
        for message in ("one", "\N{SNOWMAN}" * 1000, b"\0\xff" * 3000):
            socket.send(message)
            assert socket.recv(PATIENCE) == message
        assert socket.ping().wait(PATIENCE)
        socket.close(4002, "enough")
        assert socket.close_code == 4002


# The websockets library -----------------------------------------------------------------------------------


def websocket(proxy: Proxy) -> ClientConnection:
    url = f"ws://127.0.0.1:{proxy.port}/"
    return connect(url, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE, max_size=2_000_000)


def test_websocket_messages(sim: Proxy) -> None:
    with websocket(sim) as socket:
        for message in ("text \N{SNOWMAN}", b"\0binary\xff", "", b""):
            socket.send(message)
            assert socket.recv(PATIENCE) == message
        socket.send(["frag", "", "ments"])
        assert socket.recv(PATIENCE) == "fragments"
        socket.send([b"frag", b"ments"])
        assert socket.recv(PATIENCE) == b"fragments"
        assert socket.ping(b"are you there").wait(PATIENCE)


def test_websocket_messages_of_a_megabyte(sim: Proxy) -> None:
    message = some(1_000_000)
    with websocket(sim) as socket:
        for _ in range(3):
            socket.send(message)
            assert socket.recv(PATIENCE) == message


@pytest.mark.parametrize("code", [1000, 1001, 4321])
def test_websocket_close_codes(sim: Proxy, code: int) -> None:
    with websocket(sim) as socket:
        socket.close(code, "over")
        assert socket.close_code == code


def test_the_nodes_own_close_reaches_the_client(sim: Proxy) -> None:
    """The service ends a connection whose text is no UTF-8."""
    with websocket(sim) as socket:
        socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosedError, match="1007"):
            socket.recv(PATIENCE)


def test_a_websockets_handshake_is_held_until_the_node_is_up() -> None:
    with Proxy("--boot-time", "0.6", "--nodes", "1") as proxy:
        began = time.monotonic()
        with websocket(proxy) as socket:
            assert time.monotonic() - began >= 0.6
            socket.send("awake")
            assert socket.recv(PATIENCE) == "awake"
            assert proxy.until(lambda status: status["proxy"]["tunnels"] == 1)
        assert proxy.until(lambda status: status["proxy"]["tunnels"] == 0)


def test_many_websockets_at_once(sim: Proxy) -> None:
    async def talk(number: int) -> list[str | bytes]:
        url = f"ws://127.0.0.1:{sim.port}/{number}"
        async with connect_async(url, proxy=None, open_timeout=PATIENCE) as socket:
            heard: list[str | bytes] = []
            for turn in range(5):
                await socket.send(f"{number} {turn}")
                heard.append(await socket.recv())
            return heard

    async def all_of_them() -> list[list[str | bytes]]:
        return await asyncio.gather(*(talk(number) for number in range(40)))

    assert asyncio.run(all_of_them()) == [[f"{n} {turn}" for turn in range(5)] for n in range(40)]


# aiohttp --------------------------------------------------------------------------------------------------


def test_aiohttp_streams_both_ways(sim: Proxy) -> None:
    parts = [some(size) for size in (1, 70_000, 500_000, 3, 200_000)]

    async def upload() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            await asyncio.sleep(0)

    async def both() -> tuple[Any, bytes, list[Any]]:
        async with aiohttp.ClientSession(sim.url) as session:
            async with session.post("/up", data=upload()) as answer:
                seen = await answer.json()
            async with session.get("/?chunks=7&size=100000") as answer:
                data = b"".join([part async for part in answer.content.iter_any()])

            async def one(number: int) -> Any:
                async with session.get(f"/{number}") as answer:
                    return (await answer.json())["target"]

            return seen, data, await asyncio.gather(*map(one, range(50)))

    seen, data, targets = asyncio.run(both())
    whole = b"".join(parts)
    assert seen["body"] == {"length": len(whole), "sha256": digest(whole)}
    assert data == pattern(100_000) * 7
    assert targets == [f"/{number}" for number in range(50)]


def test_aiohttp_websocket(sim: Proxy) -> None:
    async def talk() -> list[Any]:
        async with aiohttp.ClientSession(sim.url) as session, session.ws_connect("/") as socket:
            await socket.send_json({"a": 1})
            first = await socket.receive_json()
            await socket.send_bytes(some(200_000))
            return [first, await socket.receive_bytes()]

    assert asyncio.run(talk()) == [{"a": 1}, some(200_000)]


# http.client ----------------------------------------------------------------------------------------------


def test_http_client_on_one_connection(sim: Proxy) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", sim.port, timeout=PATIENCE)) as connection:
        connection.connect()
        ours = connection.sock.getsockname()

        def ask(method: str, target: str, body: Any = None, **more: Any) -> tuple[int, bytes]:
            connection.request(method, target, body, **more)
            with connection.getresponse() as answer:
                return answer.status, answer.read()

        assert ask("GET", "/?size=10") == (200, pattern(10))
        assert ask("HEAD", "/?size=10") == (200, b"")
        assert ask("GET", "/?status=204") == (204, b"")
        assert ask("GET", "/?chunks=2&size=5&trailers=1")[0] == 200
        sent = iter([b"a" * 10, b"b" * 20])
        status, body = ask("POST", "/", sent, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert (status, json.loads(body)["body"]["length"]) == (200, 30)
        assert ask("OPTIONS", "*")[0] == 200
        assert connection.sock.getsockname() == ours, "it was closed in between"
