"""Fixtures of the tests of what all floors lean on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.settings import Settings, load_settings
from tests.lab import as_nobody, lab, nothing_said

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.base.loading import Load

__all__ = ["as_nobody", "lab", "nothing_said"]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads settings of which each place is given as text, or as nothing."""

    def call(
        code: Mapping[str, object] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        toml: str | None = None,
        vendor: str | None = None,
    ) -> Settings:
        file, vendor_file = tmp_path / "hat.toml", tmp_path / "clusterctrl"
        if toml is not None:
            file.write_text(toml, encoding="utf-8")
        if vendor is not None:
            vendor_file.write_text(vendor, encoding="utf-8")
        return load_settings(
            code or {},
            config=str(file) if toml is not None else None,
            env={f"RPI_CLUSTERHAT_{k}": v for k, v in (env or {}).items()},
            vendor_file=str(vendor_file),
        )

    return call
