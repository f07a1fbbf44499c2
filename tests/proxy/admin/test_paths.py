"""Paths, methods and what may be asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import PoolState
from tests.proxy.admin.side import BEARER, GETS, NAME, Side, play

if TYPE_CHECKING:
    from tests.safety.pools import House


def test_health_and_readiness(house: House) -> None:
    async def scene(side: Side) -> None:
        assert (await side.ask("/healthz"))[::2] == (200, b"ok\n")
        assert (await side.ask("/readyz"))[::2] == (200, b"ready\n")
        side.proxy.draining = True
        assert (await side.ask("/healthz?x=1")).status == 200
        answer = await side.ask("/readyz")
        assert answer.status == 503
        assert answer.body == b"draining: no new connections, 0 requests under way\n"

    play(house, scene)


def test_head_has_what_get_has_but_the_body(house: House) -> None:
    async def scene(side: Side) -> None:
        for path in ["/", "/healthz", "/readyz", "/status"]:
            whole, head = await side.ask(path), await side.ask(path, method="HEAD")
            assert (head.status, head.body) == (200, b""), path
            assert head.fields.keys() == whole.fields.keys(), path
            assert head.fields["content-type"] == whole.fields["content-type"]
            assert int(whole.fields["content-length"]) == len(whole.body)
        for path in ["/metrics", "/events"]:
            head = await side.ask(path, method="HEAD")
            assert (head.status, head.body) == (200, b""), path

    play(house, scene)


def test_other_paths_and_methods(house: House) -> None:
    async def scene(side: Side) -> None:
        for path in [
            "/x",
            "/status/",
            "/nodes",
            "/nodes/p1",
            "/nodes/p1/on/",
            "/nodes//on",
            "//",
            "/nodes/p1/ON",
        ]:
            for method in ["GET", "POST"]:
                answer = await side.ask(path, method=method)
                assert answer.status == 404, (method, path)
        for path in GETS:
            for method in ["POST", "PUT", "DELETE", "BREW", "OPTIONS"]:
                answer = await side.ask(path, method=method)
                assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD"), (method, path)
        for method in ["GET", "HEAD", "PUT"]:
            answer = await side.ask("/nodes/p1/on", BEARER, method=method)
            assert (answer.status, answer.fields["allow"]) == (405, "POST")
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8081",
        "192.168.1.9",
        "[::1]",
        "[fd00::1]:99",
        "localhost",
        "LOCALHOST.:1",
        NAME,
        f"{NAME.upper()}:8081",
        "",
    ],
)
def test_hosts_that_are_served(house: House, host: str) -> None:
    async def scene(side: Side) -> None:
        assert (await side.ask("/healthz", host=host)).status == 200

    play(house, scene)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8081",
        f"x.{NAME}",
        f"{NAME}.evil.example",
        "127.0.0.1.evil.example",
        "1.2.3",
        "localhost.evil.example",
        "[::1].evil.example",
        "[evil.example]",
        "p1.local",
    ],
)
def test_other_names_are_not_served(house: House, host: str) -> None:
    async def scene(side: Side) -> None:
        for path in [*GETS, "/x"]:
            assert (await side.ask(path, host=host)).status in (400, 421), path
        answer = await side.post("/nodes/p1/on", BEARER, host=host)
        assert answer.status in (400, 421)
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=x.y", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
    ],
)
def test_metrics_in_the_format_asked_for(house: House, accept: str | None, kind: str) -> None:
    async def scene(side: Side) -> None:
        answer = await side.ask("/metrics", *([f"Accept: {accept}"] if accept else []))
        assert answer.status == 200
        assert re.match(re.escape(kind), answer.fields["content-type"])
        assert b'clusterhat_node_state{node="p1",state="off"} 1.0\n' in answer.body
        assert answer.body.endswith(b"# EOF\n") == ("openmetrics" in kind)

    play(house, scene)
