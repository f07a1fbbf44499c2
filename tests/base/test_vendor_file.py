"""The vendor's settings file: what it sets, and what is wrong in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.settings import load_settings
from tests.base.loading import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.base.loading import Load


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CLUSTERHAT_FORCE=2.3", ("2.3", None, 2.0)),
        ('  CLUSTERHAT_FORCE="2.3"  # fitted', ("2.3", None, 2.0)),
        ("CLUSTERHAT_FORCE='2.3'", ("2.3", None, 2.0)),
        ("#CLUSTERHAT_FORCE=2.3", (None, None, 2.0)),
        ("CLUSTERHAT_FORCE=", (None, None, 2.0)),
        ("CLUSTERHAT_FORCE=1.0\nCLUSTERHAT_FORCE=2.3", ("2.3", None, 2.0)),
        ("CLUSTERHAT_SIZE=2", (None, 2, 2.0)),
        ("CLUSTERHAT_SIZE=9", (None, 4, 2.0)),
        ("CLUSTERCTRL_DELAY=1", (None, None, 1.0)),  # the vendor's program itself trips over this text
        ("CLUSTERCTRL_DELAY=0.5", (None, None, 0.5)),
        ("FANGPIO=18\nCLUSTERHATV1=1-1.2\nnonsense\n\x00", (None, None, 2.0)),
    ],
)
def test_the_vendors_file(load: Load, line: str, expected: tuple[Any, ...]) -> None:
    settings = load(vendor=line)
    [one] = settings.boards
    assert (one.version, one.nodes, settings.spacing) == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "CLUSTERCTRL_DELAY=7200",  # longer than any here: less would be too early
            "spacing: '7200' (from FILE: CLUSTERCTRL_DELAY): expected seconds from 0 to 3600",
        ),
        (
            "CLUSTERHAT_SIZE=all",
            "nodes: 'all' (from FILE: CLUSTERHAT_SIZE): expected a whole number from 1 to 4",
        ),
        ("CLUSTERHAT_SIZE=0", "nodes: 0 (from FILE: CLUSTERHAT_SIZE): expected a whole number from 1 to 4"),
    ],
)
def test_a_wrong_value_in_the_vendors_file(load: Load, tmp_path: Path, line: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(vendor=line)
    assert str(caught.value) == "Invalid value for " + text.replace("FILE", f"{tmp_path}/clusterctrl")


@pytest.mark.parametrize("value", ["abc", "-1", "1,5", "nan"])
def test_a_delay_for_which_the_vendors_program_takes_its_default(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    settings = load(vendor=f"CLUSTERHAT_SIZE=3\nCLUSTERCTRL_DELAY={value}")
    assert (settings.spacing, settings.boards[0].nodes) == (2.0, 3)
    [told] = caplog.messages
    assert told == (
        f"Invalid value for {tmp_path}/clusterctrl: CLUSTERCTRL_DELAY: {value!r}: expected a number of "
        "seconds; the default spacing is used instead"
    )


def test_a_file_that_cannot_be_read_is_told(
    load: Load,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    as_nobody: Callable[[], AbstractContextManager[None]],
) -> None:
    file = tmp_path / "clusterctrl"
    file.write_text("CLUSTERCTRL_DELAY=7", encoding="utf-8")
    file.chmod(0o600)
    tmp_path.chmod(0o755)
    with as_nobody():
        settings = load()
    assert settings.spacing == 2.0
    [told] = caplog.messages
    assert told == (
        f"Cannot read {file}: Permission denied: the version and the spacing that it may ask for are not "
        f"used; let every user read it ('sudo chmod a+r {file}')"
    )
    file.chmod(0o644)
    assert load().spacing == 7.0


def test_a_file_that_is_none_is_told_and_one_that_is_not_there_is_not(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load().spacing == 2.0
    assert caplog.messages == []
    (tmp_path / "clusterctrl").mkdir()
    assert load().spacing == 2.0
    assert "clusterctrl: Is a directory: " in caplog.text


def test_a_wrong_version_in_the_vendors_file_is_told_with_its_place(load: Load, tmp_path: Path) -> None:
    [said] = load(vendor="CLUSTERHAT_FORCE=9.9").boards
    with pytest.raises(SettingError) as caught:
        board(said.version or "", where=said.origins["board"])
    assert str(caught.value).startswith(
        f"Invalid value for board: '9.9' (from {tmp_path}/clusterctrl: CLUSTERHAT_FORCE): expected 1.x, 2.x"
    )


WORDS = st.sampled_from(["CLUSTERHAT_FORCE", "CLUSTERHAT_SIZE", "CLUSTERCTRL_DELAY", *"=#'4²", "\n"])
FILES = st.lists(WORDS | st.text(max_size=3)).map(lambda words: "".join(words).encode("utf-8", "replace"))


@given(st.binary(max_size=60) | FILES)
@example(b"CLUSTERHAT_SIZE=" + b"9" * 5000)
@example("CLUSTERHAT_SIZE=²".encode())
def test_nothing_in_the_vendors_file_but_a_setting_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "vendor"
    file.write_bytes(content)
    check(lambda: load_settings({}, env={}, vendor_file=str(file)))
