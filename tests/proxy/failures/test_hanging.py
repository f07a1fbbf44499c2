"""Nodes that hang, and those that never boot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import BootHistory
from tests.proxy.failures.failing import fail, power_ups, proxy_in
from tests.proxy.running import PATIENCE, everything

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat_sim.state_file import StateFile


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hung_node_is_told_after_its_time(world: StateFile, method: str) -> None:
    with proxy_in(world, "--timeout-server", "0.7", nodes=1) as proxy:
        assert proxy.request().status == 200
        fail(world, "p1:hang")
        time.sleep(0.05)
        began = time.monotonic()
        assert proxy.request(method=method, body=b"x").status == 504
        assert 0.7 <= time.monotonic() - began <= PATIENCE


def test_a_hung_node_is_looked_at_and_started_anew(world: StateFile) -> None:
    """Its system still takes connections: only who asks more of it than that can see that it hangs."""
    options = ["--probe", "http", "--probe-timeout", "0.2", "--boot-timeout", "0.5"]
    options += ["--timeout-server", "0.4", "--retry-after-failure", "0.1"]
    with proxy_in(world, *options, nodes=1) as proxy:
        assert proxy.request().status == 200
        fail(world, "p1:hang")
        time.sleep(0.05)
        assert proxy.request().status == 504
        proxy.until(lambda status: not status["nodes"]["p1"]["powered"])
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        assert proxy.request().status == 200
    assert power_ups(world) == ["p1", "p1"]


def test_who_waits_for_a_hung_node_does_not_keep_it_from_being_started_anew(world: StateFile) -> None:
    """A stream of events may be silent for ever."""
    options = ["--probe", "http", "--probe-timeout", "0.5", "--boot-timeout", "2"]
    options += ["--timeout-server", "0.4", "--retry-after-failure", "0.1"]
    with proxy_in(world, *options, nodes=1) as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?sse=1000&interval=0.05 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        fail(world, "p1:hang")
        time.sleep(0.05)
        assert proxy.request().status == 504
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        assert proxy.request().status == 200


def test_a_node_that_hangs_within_its_answer(world: StateFile) -> None:
    with proxy_in(world, "--timeout-server", "0.7", nodes=1) as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?chunks=100&interval=0.05 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        fail(world, "p1:hang")
        try:
            assert not everything(connection).endswith(b"\r\n0\r\n\r\n")
        except ConnectionResetError:
            pass


def test_a_node_that_never_boots(world: StateFile) -> None:
    """504 after its time, then left alone, then tried again; the others serve on."""
    options = ["--option", "fault=p2:no-boot", "--no-redispatch", "--balance", "hash", "--hash-on", "path"]
    options += ["--boot-timeout", "0.8", "--probe-interval", "0.05", "--retry-after-failure", "1.5"]
    with proxy_in(world, *options, nodes=2) as proxy:
        number = 0
        while True:
            bad = f"/{number}"
            began = time.monotonic()
            reply = proxy.request(bad)
            if reply.status != 200:
                break
            assert reply.json["node"] == "p1"
            number += 1
        failed = time.monotonic()
        assert reply.status == 504
        assert 0.75 <= failed - began <= PATIENCE  # the last probe that fits
        assert int(reply.headers["Retry-After"]) == 2
        assert reply.json["detail"].startswith("p2: ")
        assert proxy.request(bad).json["node"] == "p1"
        assert power_ups(world).count("p2") == 1
        status = proxy.until(lambda status: status["nodes"]["p2"]["state"] != "failed")
        assert time.monotonic() - failed >= 1.4
        assert status["nodes"]["p2"]["failure"]
        fail(world, "p2:ok")
        # It is booted again by itself, and until it has answered others are tried before it.
        proxy.until(lambda status: status["nodes"]["p2"]["state"] == "ready")
        assert proxy.request(bad).json["node"] == "p2"
        assert 2 <= power_ups(world).count("p2") <= 3


def test_the_only_node_never_boots(world: StateFile) -> None:
    options = ["--option", "fault=p1:no-boot", "--boot-timeout", "0.5", "--retry-after-failure", "2"]
    with proxy_in(world, *options, nodes=1) as proxy:
        reply = proxy.request()
        assert reply.status == 504
        reply = proxy.request()  # left alone: told at once, and nothing is switched
        assert reply.status == 503
        assert 1 <= int(reply.headers["Retry-After"]) <= 3
        assert power_ups(world) == ["p1"]
        proxy.until(lambda status: status["nodes"]["p1"]["state"] != "failed")
        assert proxy.request().status == 504
        assert power_ups(world) == ["p1", "p1"]
        assert int(proxy.request().headers["Retry-After"]) > 2  # twice as long
        fail(world, "p1:ok")
        proxy.until(lambda status: status["nodes"]["p1"]["state"] != "failed")
        assert proxy.request().status == 200


def test_another_node_serves_for_one_that_does_not_boot(world: StateFile) -> None:
    with proxy_in(world, "--option", "fault=p1:no-boot", "--boot-timeout", "0.5", nodes=2) as proxy:
        reply = proxy.request("/late", method="POST", body=b"order")
        assert (reply.status, reply.json["node"], reply.json["body"]["length"]) == (200, "p2", 5)
        assert power_ups(world) == ["p1", "p2"]


def test_a_request_is_held_no_longer_than_its_time(world: StateFile) -> None:
    with proxy_in(world, "--boot-time", "2.5", "--queue-timeout", "0.5", nodes=1) as proxy:
        began = time.monotonic()
        reply = proxy.request()
        assert time.monotonic() - began >= 0.5
        assert reply.status == 504
        assert int(reply.headers["Retry-After"]) >= 1
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "ready")  # its boot goes on
        assert proxy.request().status == 200
        assert power_ups(world) == ["p1"]


def test_boots_are_kept_where_that_is_said(world: StateFile, tmp_path: Path) -> None:
    options = ["--boot-history", str(tmp_path / "state" / "boots.jsonl")]
    with proxy_in(world, *options, nodes=1) as proxy:
        assert proxy.request().status == 200
    (record,) = BootHistory(tmp_path / "state" / "boots.jsonl").records()
    assert (record.node, record.outcome, record.reason) == ("p1", "ready", "lease")
