"""The pages on the proxy and on pools name what there is, all of it."""

from __future__ import annotations

import re
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rpi_clusterhat import PoolSettings
from tests.proxy.running import PATIENCE, Proxy

DOCS = Path(__file__).resolve().parents[2] / "docs"


@cache
def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _section(page: str, heading: str) -> str:
    return re.split(r"^## ", _page(page).partition(f"\n## {heading}")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_setting_of_a_pool_has_its_row_and_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", _section("reference/pool.md", "Settings"), re.MULTILINE)
    settings = PoolSettings()
    said = {name: default.replace('"', "'") for name, default in rows}
    assert said == {name: repr(getattr(settings, name)) for name in PoolSettings.__annotations__}


@pytest.mark.slow
def test_the_admin_side_is_as_described() -> None:
    with Proxy() as proxy:
        status: dict[str, Any] = proxy.status()
        paths = re.findall(r"^\| `(GET|POST) (/\S*)` \|", _page("reference/proxy.md"), re.MULTILINE)
        answers = {path: _ask(proxy.ports["status"], method, path) for method, path in paths}
    assert len(paths) == 8
    assert {path: code for path, code in answers.items() if code != 200} == {
        "/nodes/NAME/on": 403,  # there is no token
        "/nodes/NAME/off": 403,
    }
    tables = _section("reference/proxy.md", "The state as JSON")
    of_a_node, of_proxy = tables.split("| of `proxy` | is |")
    assert _keys(of_a_node) == set(status["nodes"]["p1"])
    assert _keys(of_proxy) == set(status["proxy"])


def _ask(port: int, method: str, path: str) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path.replace("NAME", "p1"))
        with connection.getresponse() as answer:
            return answer.status


def _keys(table: str) -> set[str]:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}
