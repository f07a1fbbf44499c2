from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.nodes.ssh.sshd import Sshd, clients, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One that takes all that comes, and that no test stops."""
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets lie. Nothing is in it after a test, and no process is left of those that made them."""
    folder = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    try:
        yield folder
        assert list(folder.iterdir()) == []
        eventually(lambda: not clients(folder))
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Where host keys are kept."""
    return tmp_path / "host-keys"
