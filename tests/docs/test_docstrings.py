"""Each name of the reference says in one line what it is or does."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
SELF_EXPLAINING = re.compile(r"test_|setup_method$|teardown_method$")
"""The tests of the conformance suite, whose names are sentences."""


def _names() -> list[str]:
    return sorted(
        name
        for page in REFERENCE.glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    )


def _object(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def _documented(name: str) -> Iterator[tuple[str, str]]:
    """The docstrings of a function, or of a class with its own public methods and properties."""
    found = _object(name)
    if inspect.isclass(found):
        yield name, found.__doc__ or ""
        for key, member in vars(found).items():
            function: object = getattr(member, "__func__", member)  # of a class method, the function
            own = inspect.isfunction(function) or isinstance(function, property)
            if own and not key.startswith("_") and not SELF_EXPLAINING.match(key):
                yield f"{name}.{key}", inspect.getdoc(getattr(found, key)) or ""  # its own, or of a base
    elif inspect.isfunction(found):
        yield name, found.__doc__ or ""


@pytest.mark.parametrize("name", _names())
def test_a_docstring_begins_with_a_line_of_its_own(name: str) -> None:
    for full_name, docstring in _documented(name):
        first, *rest = docstring.strip().splitlines() or [""]
        assert first.endswith((".", ":")), full_name
        assert not rest or not rest[0].strip(), full_name
