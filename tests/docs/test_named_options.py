"""The options that the pages name in their text are options of the command, the proxy or an example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from clusterhat_proxy import option_table

if TYPE_CHECKING:
    from argparse import ArgumentParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
OTHERS = {"--help", "--version", "--config", "--serve", "--hat", "--port"}
"""Of each program that has a help, of the proxy, and of the examples."""


def _options_of_the_command() -> set[str]:
    from rpi_clusterhat.cli.parser import build_parser

    found: set[str] = set()
    parsers = [build_parser()]
    while parsers:
        for action in parsers.pop()._actions:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            found.update(option for option in action.option_strings if option.startswith("--"))
            if action.dest == "command":
                parsers.extend(cast("dict[str, ArgumentParser]", action.choices).values())
    return found


def _options_of_the_proxy() -> set[str]:
    names = {name.replace("_", "-") for name in option_table.Options.__annotations__}
    return {f"--{prefix}{name}" for name in names for prefix in ("", "no-")} | {"--option"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_named_option_exists(page: Path) -> None:
    known = _options_of_the_command() | _options_of_the_proxy() | OTHERS
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    named = {
        option for code in re.findall(r"`([^`\n]+)`", text) for option in re.findall(r"--[a-z][a-z-]+", code)
    }
    assert sorted(named - known) == []
