"""What tests of settings share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.settings import Settings

    Load = Callable[..., Settings]


def check(call: Callable[[], Settings]) -> None:
    try:
        settings = call()
    except SettingError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        return
    assert 0.0 <= settings.spacing <= 3600.0
    assert settings.boards
    for one in settings.boards:
        assert one.nodes is None or 1 <= one.nodes <= 4
        assert one.rail
