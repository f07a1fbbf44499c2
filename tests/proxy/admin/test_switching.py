"""Switching by hand."""

from __future__ import annotations

import asyncio
import time

import pytest

from clusterhat_proxy import switching
from rpi_clusterhat import PoolState
from tests.proxy.admin.side import BEARER, FORM, HTML, LATE, TOKEN, Side, play, read_head
from tests.safety.pools import BOOT_TIME, House


def test_switching_on_and_off(house: House) -> None:
    async def scene(side: Side) -> None:
        form = f"token={TOKEN}"
        answer = await side.post("/nodes/p1/on", FORM, "Accept: application/json", body=form)
        assert answer.status == 200
        assert answer.fields["content-type"].startswith("application/json")
        assert answer.json == {"node": "p1", "done": True, "detail": "p1 starts"}
        answer = await side.post("/nodes/p1/on", BEARER)
        assert (answer.status, answer.json["done"], answer.json["detail"]) == (
            200,
            False,
            "p1 starts already",
        )
        answer = await side.post("/nodes/p1/off", BEARER)
        assert answer.status == 409
        assert answer.json["detail"] == "p1 starts: it can be switched off once it is ready"
        await side.pass_until("p1", PoolState.READY)
        assert (await side.post("/nodes/p1/on", BEARER)).json["detail"] == "p1 is on"
        answer = await side.post("/nodes/p1/off", f"authorization: bearer {TOKEN}")
        assert answer.json == {"node": "p1", "done": True, "detail": "p1 goes off"}
        await side.pass_until("p1", PoolState.OFF)
        answer = await side.post("/nodes/p1/off", BEARER)
        assert (answer.status, answer.json["done"], answer.json["detail"]) == (200, False, "p1 is off")
        assert not house.world["p1"].is_up

    play(house, scene)


def test_a_form_without_scripts(house: House) -> None:
    async def scene(side: Side) -> None:
        form = f"token={TOKEN}"
        answer = await side.post("/nodes/p2/on", FORM, HTML, body=form)
        assert (answer.status, answer.fields["location"]) == (303, "/")
        await side.pass_until("p2", PoolState.READY)
        lease = side.pool.lease("p2")
        assert lease.ask()
        answer = await side.post("/nodes/p2/off", FORM, HTML, body=form)
        assert answer.status == 409
        assert answer.fields["content-type"].startswith("text/html")
        assert b"p2 is in use: 1 in flight" in answer.body
        lease.release()

    play(house, scene)


def test_a_node_in_use_stays_on(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.wake("p1")
        lease = side.pool.lease("p1")
        assert lease.ask()
        answer = await side.post("/nodes/p1/off", BEARER)
        assert answer.status == 409
        assert answer.json == {
            "node": "p1",
            "done": False,
            "detail": "p1 is in use: 1 in flight, 0 waiting for it",
        }
        assert side.pool.nodes["p1"].state is PoolState.READY
        lease.release()
        assert (await side.post("/nodes/p1/off", BEARER)).json["done"] is True

    play(house, scene)


def test_a_node_that_failed_is_left_alone(house: House) -> None:
    async def scene(side: Side) -> None:
        side.pool.wake("p1")
        await side.pass_until("p1", PoolState.FAILED)
        for power in ["on", "off"]:
            answer = await side.post(f"/nodes/p1/{power}", BEARER)
            assert (answer.status, answer.json["done"]) == (409, False)
            assert answer.json["detail"].startswith("p1 failed, and is not used for now: ")

    play(house, scene, boot_timeout=BOOT_TIME / 2)


def test_a_quarantined_node_is_let_out_by_the_button(house: House) -> None:
    async def scene(side: Side) -> None:
        house.world["p1"].fail(boots=False)
        side.pool.wake("p1")
        await side.pass_until("p1", PoolState.FAILED)
        await house.clock.pass_time(0.0)
        status = (await side.ask("/status")).json["nodes"]["p1"]
        assert (status["state"], status["quarantined"]) == ("failed", True)
        assert status["failure"].startswith("quarantined: p1 is failed")
        assert 'clusterhat_node_quarantined{node="p1"} 1.0' in (await side.ask("/metrics")).body.decode()
        assert b"quarantined: p1 is failed" in (await side.ask("/", HTML)).body
        answer = await side.post("/nodes/p1/off", BEARER)
        assert answer.status == 409
        assert answer.json["detail"].startswith("p1 is quarantined: p1 is failed")
        house.world["p1"].fail()
        answer = await side.post("/nodes/p1/on", BEARER)
        assert answer.json == {
            "node": "p1",
            "done": True,
            "detail": "p1 is let out of quarantine, and starts",
        }
        await side.pass_until("p1", PoolState.READY)
        assert (await side.ask("/status")).json["nodes"]["p1"]["quarantined"] is False
        assert 'clusterhat_node_quarantined{node="p1"} 0.0' in (await side.ask("/metrics")).body.decode()

    play(house, scene, boot_timeout=3.0, boot_attempts=1)


def test_nothing_is_switched_on_once_the_pool_ends(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.pool.drain(0)
        answer = await side.post("/nodes/p1/on", BEARER)
        assert (answer.status, answer.json["detail"]) == (409, "the proxy is ending")

    play(house, scene)


@pytest.mark.parametrize(
    ("lines", "body", "detail"),
    [
        ([], "", "the token is missing"),
        ([FORM], "other=1", "the token is missing"),
        ([FORM], "token=", "the token is missing"),
        (["Content-Type: application/json"], f'{{"token":"{TOKEN}"}}', "the token is missing"),
        (["Content-Type: text/plain"], f"token={TOKEN}", "the token is missing"),
        ([FORM], f"token={TOKEN}x", "the token is wrong"),
        ([FORM], f"token={TOKEN[:-1]}", "the token is wrong"),
        ([FORM], "token=%ff%00\u00e9", "the token is wrong"),
        ([FORM], f"token=x&token={TOKEN}", "the token is wrong"),
        ([f"{BEARER}x"], "", "the token is wrong"),
        ([f"Authorization: Bearer x{TOKEN}", FORM], f"token={TOKEN}", "the token is wrong"),
        ([f"Authorization: Basic {TOKEN}"], "", "the token is missing"),
    ],
)
def test_without_the_token_nothing_is_switched(
    house: House, lines: list[str], body: str, detail: str
) -> None:
    async def scene(side: Side) -> None:
        for path in ["/nodes/p1/on", "/nodes/p9/on"]:
            answer = await side.post(path, *lines, body=body.encode().decode("latin-1"))
            assert (answer.status, answer.json["detail"]) == (403, detail)
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


def test_a_wrong_token_costs_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(side: Side) -> None:
        begun = time.monotonic()
        wrong = asyncio.create_task(side.post("/nodes/p1/on", BEARER + "x"))
        assert (await side.ask("/healthz")).status == 200
        assert not wrong.done()
        assert (await wrong).status == 403
        assert time.monotonic() - begun >= 0.3

    monkeypatch.setattr(switching, "WRONG_TOKEN_DELAY", 0.3)
    play(house, scene)


def test_without_a_token_of_its_own_it_switches_nothing(house: House) -> None:
    async def scene(side: Side) -> None:
        for lines in ([], [BEARER], ["Authorization: Bearer "], ["Authorization: Bearer None"]):
            answer = await side.post("/nodes/p1/on", *lines)
            assert answer.status == 403
            assert answer.json["detail"] == "switching by hand is off: set --admin-token-file"
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene, token=None)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Origin: http://localhost:8081", 200),
        ("Origin: HTTP://LOCALHOST:8081", 200),
        ("Origin: http://localhost", 403),
        ("Origin: http://localhost:8082", 403),
        ("Origin: http://evil.example", 403),
        ("Origin: http://evil.example:8081", 403),
        ("Origin: null", 403),
        ("Origin: ", 403),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: cross-site", 403),
    ],
)
def test_only_pages_of_its_own_may_switch(house: House, line: str, status: int) -> None:
    async def scene(side: Side) -> None:
        answer = await side.post("/nodes/p1/on", line, BEARER, host="localhost:8081")
        assert answer.status == status
        assert (side.pool.nodes["p1"].state is PoolState.OFF) == (status != 200)

    play(house, scene)


def test_a_node_that_is_not_there(house: House) -> None:
    async def scene(side: Side) -> None:
        for name in ["p9", "p1%20", "%70%31", "P1", "..", "p1;p2"]:
            answer = await side.post(f"/nodes/{name}/on", BEARER)
            assert answer.status == 404
            assert answer.json["detail"] == "there is no such node; the nodes are p1, p2, p3, p4"

    play(house, scene)


def test_what_is_sent_is_bounded(house: House) -> None:
    async def scene(side: Side) -> None:
        answer = await side.post("/nodes/p1/on", FORM, body="x" * 5000)
        assert answer.status == 413
        assert (await side.ask("/healthz", f"X: {'x' * 20000}")).status == 431

    play(house, scene)


def test_a_client_that_waits_to_send_its_body_is_told_to(house: House) -> None:
    async def scene(side: Side) -> None:
        body = f"token={TOKEN}"
        lines = [FORM, "Expect: 100-continue", f"Content-Length: {len(body)}"]
        reader, writer = await side.send("/nodes/p1/on", *lines, method="POST")
        async with asyncio.timeout(LATE):
            assert (await read_head(reader)).status == 100
            writer.write(body.encode())
            assert (await read_head(reader)).status == 200
        writer.close()

    play(house, scene)
