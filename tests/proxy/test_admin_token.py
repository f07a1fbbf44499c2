"""The secret for switching by hand: where it comes from, and which is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clusterhat_proxy.options import OptionError, read_token
from tests.proxy.telling import SECRET, refusal, told

if TYPE_CHECKING:
    from pathlib import Path


def test_the_token_comes_from_the_file_or_else_the_environment(pem: Path) -> None:
    other = "of-the-environment"
    assert told().admin_token is None
    assert told(CLUSTERHAT_PROXY_ADMIN_TOKEN="").admin_token is None
    assert told(CLUSTERHAT_PROXY_ADMIN_TOKEN=other).admin_token == other
    options = told("--admin-token-file", str(pem), CLUSTERHAT_PROXY_ADMIN_TOKEN=other)
    assert options.admin_token == SECRET
    assert SECRET not in repr(options)


@pytest.mark.parametrize(
    "content", ["", "short", "fifteen-letters", "sixteen letters!", "ünicode-is-not-taken"]
)
def test_a_weak_token_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(content + "\n", encoding="utf-8")
    path.chmod(0o600)
    said = refusal("--admin-token-file", str(path))
    assert "16 or more" in said
    assert not content or content not in said
    assert not content or "16 or more" in refusal(CLUSTERHAT_PROXY_ADMIN_TOKEN=content)


@pytest.mark.parametrize(("mode", "taken"), [(0o400, True), (0o440, True), (0o604, False), (0o602, False)])
def test_a_token_that_others_may_read_is_refused(mode: int, taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(mode)
    if taken:
        assert told("--admin-token-file", str(path)).admin_token == SECRET
    else:
        assert "chmod 600" in refusal("--admin-token-file", str(path))


def test_a_token_file_that_went_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_token(tmp_path / "gone")
