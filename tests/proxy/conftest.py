"""Files that the proxy's options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proxy.telling import SECRET

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "proxy.toml"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "a file.pem"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o600)
    return path
