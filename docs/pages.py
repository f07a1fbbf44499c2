"""Writes the code, the tables and the drawings that the pages show.

    python docs/pages.py

On a page, everything between ``<!-- from SOURCE -->`` and ``<!-- end -->`` is written by this program. SOURCE
is one of these, relative to the top of the checkout:

    examples/events.py                 a whole file, as a block of code
    examples/on_demand.py: fetch       a function or class of it
    docs/states.py: markdown           what a function of a script in this folder returns, as Markdown

So a page can be read where it lies, and ``make docs`` makes the site from the same pages. A test holds the
pages and their sources together.
"""

from __future__ import annotations

import ast
import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

LANGUAGES = {".py": "python", ".toml": "toml", ".service": "ini", ".socket": "ini"}
SHOWN = re.compile(r"^(<!-- from (\S+?)(?:: (\w+))? -->\n).*?^(<!-- end -->\n)", re.MULTILINE | re.DOTALL)

DRAWINGS = {
    "states.svg": ("states.py", "svg"),
    "pool-states.svg": ("states.py", "pool_svg"),
    "halt.svg": ("states.py", "halt_svg"),
    "balance.svg": ("balance.py", "svg"),
}
"""The function of a script that makes each."""


def pages() -> list[Path]:
    """The Markdown files that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


@cache
def script(name: str) -> dict[str, Any]:
    """The names that a script of this folder defines."""
    return runpy.run_path(str(DOCS / name))


def written(page: str) -> str:
    """The text of a page with each of its sources as it is now."""
    return SHOWN.sub(lambda found: f"{found[1]}\n{_shown(found[2], found[3])}\n{found[4]}", page)


def _shown(source: str, name: str | None) -> str:
    path = ROOT / source
    if path.parent == DOCS:
        return str(script(path.name)[name or "markdown"]()).rstrip("\n") + "\n"
    text = path.read_text(encoding="utf-8")
    code = _definition(text, name) if name else text
    return f"```{LANGUAGES[path.suffix]}\n{code}```\n"


def _definition(text: str, name: str) -> str:
    """The lines of a function or class at the top of a file."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
    raise LookupError(f"there is no {name}")


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def main() -> None:
    for drawing, (name, function) in DRAWINGS.items():
        _write(DOCS / "generated" / drawing, script(name)[function]())
    for path in pages():
        _write(path, written(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
