"""The messages that pages quote are in the code, and all that is logged is on the page about logging."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rpi_clusterhat

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to"
FOLDERS = (Path(rpi_clusterhat.__file__).parent, ROOT / "backends", ROOT / "examples" / "proxy")
CODE = [path for folder in FOLDERS for path in folder.rglob("*.py")]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


@cache
def _trees() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in CODE]


def _template(node: ast.expr) -> str | None:
    """The text of a string, with an ellipsis for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) or "…" for part in node.values)
    return None


@cache
def _texts() -> list[str]:
    found = [_template(node) for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return [text for text in found if text]


def _logged() -> Iterator[str]:
    for tree in _trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            logger = ast.unparse(node.func.value)
            if node.func.attr in LEVELS and (logger == "_log" or "getLogger" in logger):
                text = _template(node.args[0])
                assert text is not None, ast.unparse(node)
                yield re.sub(r"%[\d.]*[a-z]", "…", text)


def _is_there(quoted: str) -> bool:
    """Whether the text that stands between the ellipses is in one of the code's strings."""
    pattern = re.compile(".*".join(re.escape(part) for part in quoted.split("…") if part.strip()))
    return any(pattern.search(text) for text in _texts())


def _headings() -> list[str]:
    page = (HOW_TO / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `(.*)`$", page, re.MULTILINE)


def _rows() -> list[str]:
    page = (HOW_TO / "logging.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| [A-Z]+ \| (.*?) \|", page, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"`(.*?)`", cell)]


def test_there_are_messages_to_compare() -> None:
    assert len(_headings()) > 20
    assert not _is_there("no such message as this")


@pytest.mark.parametrize("quoted", _headings())
def test_a_message_that_users_may_meet_is_in_the_code(quoted: str) -> None:
    assert _is_there(quoted)


def test_the_page_about_logging_has_every_message_that_is_logged() -> None:
    rows = _rows()
    patterns = [re.compile(re.escape(text).replace("…", ".*")) for text in set(_logged())]
    assert len(patterns) > 10
    assert [pattern.pattern for pattern in patterns if not any(map(pattern.fullmatch, rows))] == []
    assert [row for row in rows if not any(pattern.fullmatch(row) for pattern in patterns)] == []


def test_the_loggers_are_those_of_the_code() -> None:
    page = (HOW_TO / "logging.md").read_text(encoding="utf-8")
    names = {
        str(_template(node.args[0]))
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger" and node.args
    }
    assert names - {"asyncio"} == set(re.findall(r"^The logger is `(\w+)`", page, re.MULTILINE))
