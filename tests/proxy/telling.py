"""What tests of the proxy's options share: options as given, and what an error says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from clusterhat_proxy.options import OptionError, Options, parse

if TYPE_CHECKING:
    from pathlib import Path

REPEATABLE = hypothesis.settings(derandomize=True, database=None, deadline=None)
SECRET = "correct-horse-battery"


def told(*argv: str, **env: str) -> Options:
    return parse(argv, env)


def refusal(*argv: str, **env: str) -> str:
    with pytest.raises(OptionError) as caught:
        parse(argv, env)
    text = str(caught.value)
    assert text.isprintable()
    assert text.endswith("(see --help)")
    return text


def in_file(path: Path, text: str) -> tuple[str, str]:
    path.write_text(text, encoding="utf-8")
    return ("--config", str(path))
