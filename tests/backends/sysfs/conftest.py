"""A kernel, and programs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends.sysfs.kernel import FakeSysfs, Programs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def kernel(programs: Programs) -> FakeSysfs:
    return programs.kernel
