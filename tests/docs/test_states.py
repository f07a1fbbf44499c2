"""The drawn states are those of the table."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("make", "file"), [("svg", "states.svg"), ("markdown", "states.md")])
def test_what_is_committed_is_what_would_be_made_now(make: str, file: str) -> None:
    script = runpy.run_path(str(DOCS / "states.py"))
    committed = (DOCS / "generated" / file).read_text(encoding="utf-8")
    assert committed == script[make](), "run 'python docs/states.py' and commit what it writes"
