"""What all backends are tested with."""

from __future__ import annotations

import pytest


@pytest.fixture
def remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remedies for a refused permission that do not depend on who runs the tests."""

    def remedy(path: str, group: str, needed: int) -> str:
        return f"remedy: {group} {needed}"

    monkeypatch.setattr("rpi_clusterhat.hardware.gpio.permission_remedy", remedy)
