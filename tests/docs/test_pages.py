"""The pages show what the code and the examples are now, and are plain Markdown, readable anywhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES_PY: dict[str, Any] = runpy.run_path(str(DOCS / "pages.py"))
PAGES: list[Path] = PAGES_PY["pages"]()
SLOW = {"docs/explanation/on-demand.md"}  # its tables take thousands of simulated requests
WRITTEN = re.compile(r"^<!-- from .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)")
ONLY_ON_THE_SITE = {
    "an included file": re.compile(r"--8<--"),
    "an admonition": re.compile(r"^ *(!!!|\?\?\?) ", re.MULTILINE),
    "attributes": re.compile(r"\{ ?[#.:]"),
    "a definition list": re.compile(r"^: ", re.MULTILINE),
    "a cross reference": re.compile(r"\]\[\w"),
}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _prose(page: Path) -> str:
    return FENCED.sub("", _text(page))


def _anchors(page: Path) -> set[str]:
    """Those of a page's headings, as code hosts and the site alike make them."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", heading.lower())) for heading in headings}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (_name(page) in SLOW), id=_name(page)) for page in PAGES],
)
def test_a_page_shows_what_is_there_now(page: Path) -> None:
    assert _text(page) == PAGES_PY["written"](_text(page)), "run 'make pages' and commit what it writes"


@pytest.mark.parametrize(
    "drawing", ["states.svg", "pool-states.svg", pytest.param("balance.svg", marks=pytest.mark.slow)]
)
def test_a_drawing_shows_what_is_there_now(drawing: str) -> None:
    script, function = PAGES_PY["DRAWINGS"][drawing]
    made = PAGES_PY["script"](script)[function]()
    assert _text(DOCS / "generated" / drawing) == made, "run 'make pages' and commit what it writes"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_on_a_page_is_an_examples(page: Path) -> None:
    rest = WRITTEN.sub("", _text(page))
    assert not re.search(r"^ *```(python|ini)$", rest, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_is_plain_markdown(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", _prose(page))
    assert [what for what, pattern in ONLY_ON_THE_SITE.items() if pattern.search(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target, anchor in LINK.findall(_prose(page)):
        linked = (page.parent / target).resolve() if target else page
        assert linked.is_file(), target
        if anchor.startswith("rpi_clusterhat"):
            assert re.search(rf"^::: {re.escape(anchor)}$", _text(linked), re.MULTILINE) or re.search(
                rf"^::: {re.escape(anchor.rpartition('.')[0])}$", _text(linked), re.MULTILINE
            ), anchor
        elif anchor:
            assert anchor in _anchors(linked), f"{target}#{anchor}"


def test_the_sources_of_a_page() -> None:
    written = PAGES_PY["written"]
    assert written("as it is\n") == "as it is\n"
    block = written("<!-- from examples/on_demand.py: fetch -->\nold\n<!-- end -->\n")
    assert block.startswith("<!-- from examples/on_demand.py: fetch -->\n\n```python\ndef fetch(")
    assert block.endswith("\n```\n\n<!-- end -->\n")
    assert written(block) == block
    with pytest.raises(LookupError):
        written("<!-- from examples/on_demand.py: nothing -->\n<!-- end -->\n")
