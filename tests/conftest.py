"""The order in which tests run: those that take long come first, so that none is waited for at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    import pytest

# How long one example takes says little where other tests run beside it.
settings.register_profile("side by side", deadline=None)
settings.load_profile("side by side")

FIRST = ("tests/rack", "tests/kernel", "tests/cli/test_demo", "tests/proxy", "tests/safety", "tests/docs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((i for i, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    items.sort(key=place)
