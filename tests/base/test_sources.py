"""The places that settings come from: the environment and files, and names that nobody knows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings import Given, Option, Origin, load_settings
from rpi_clusterhat.settings.option import text, whole
from rpi_clusterhat.settings.sources import (
    from_environment,
    from_file,
    read_toml,
    unknown,
    unknown_variables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPTIONS = [
    Option("count", whole(0, 9), 1, "a number"),
    Option("names", text, (), "some", shape="many"),
    Option("pairs", text, {}, "some", shape="pairs"),
]


def test_variables() -> None:
    env = {"X_COUNT": "3", "X_NAMES": "a 'b c'", "X_PAIRS": "k=v", "COUNT": "4", "X_OTHER": "5"}
    assert from_environment("X_", OPTIONS, env) == {
        "count": Given("3", Origin("variable", "X_COUNT")),
        "names": Given(["a", "b c"], Origin("variable", "X_NAMES")),
        "pairs": Given(["k=v"], Origin("variable", "X_PAIRS")),
    }
    assert from_environment("X_", OPTIONS, {"X_COUNT": "", "X_NAMES": ""}) == {}


def test_unknown_variables_are_told_with_the_nearest_name() -> None:
    env = {"X_COUNT": "1", "X_CONFIG": "1", "X_COUNTS": "1", "X_ZZZZ": "1", "Y_COUNT": "1"}
    assert list(unknown_variables("X_", ["count", "config"], env)) == [
        "Unknown environment variable X_COUNTS: did you mean X_COUNT?",
        "Unknown environment variable X_ZZZZ",
    ]


def test_the_library_logs_unknown_variables(caplog: pytest.LogCaptureFixture) -> None:
    env = {"RPI_CLUSTERHAT_SPACNG": "3", "RPI_CLUSTERHAT_DEBUG": "1", "RPI_CLUSTERHAT_SPACING": "3"}
    with caplog.at_level(logging.WARNING, "rpi_clusterhat"):
        assert load_settings({}, env=env).spacing == 3.0
    assert caplog.messages == [
        "Unknown environment variable RPI_CLUSTERHAT_SPACNG: did you mean RPI_CLUSTERHAT_SPACING?"
    ]
    warnings: list[str] = []
    load_settings({}, env=env, warn=warnings.append)
    assert warnings == caplog.messages


def test_a_table_of_a_file() -> None:
    assert from_file({"lock-dir": 1, "rail": 2}, ["lock_dir", "rail"], "a.toml", "of board 1") == {
        "lock_dir": Given(1, Origin("file", "lock-dir of board 1", "a.toml")),
        "rail": Given(2, Origin("file", "rail of board 1", "a.toml")),
    }
    with pytest.raises(SettingError, match=r"^Setting a_b is set twice \(from a\.toml: a_b\)$"):
        from_file({"a-b": 1, "a_b": 2}, ["a_b"], "a.toml")


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("spacng", ["spacing", "rail"], "'spacng' (from x): did you mean spacing? Known are spacing, rail"),
        ("zzz", ["spacing", "rail"], "'zzz' (from x). Known are spacing, rail"),
        ("zzz", [], "'zzz' (from x). Known are none"),
        ("zzz", [str(n) for n in range(99)], "'zzz' (from x)"),
        ("n1", [f"n_{n}" for n in range(99)], "'n1' (from x): did you mean n_1?"),
    ],
)
def test_an_unknown_name(name: str, known: list[str], words: str) -> None:
    assert str(unknown("setting", name, known, "x")) == f"Unknown setting {words}"


def test_what_an_unknown_name_is_of() -> None:
    assert str(unknown("option", "a", [], of="the backend sim")) == (
        "Unknown option 'a' of the backend sim. Known are none"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = ", "the file is not TOML: "),
        (b"a = '\xff'", "the file is not TOML: "),
        (b"a = " + b"9" * 5000, "the file is not TOML: "),
        (b"a = " + b"[" * 5000, "the file is not TOML: nested too deeply"),
        (b"#" * (1 << 21), "it is longer than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        read_toml(str(file), "--config")
    assert str(caught.value).startswith(f"Cannot read {file} (from --config): {words}")


# Layering ------------------------------------------------------------------------------------------------

PLACES = ("argument", "option", "variable", "file", "vendor's file")
VALUES = st.sampled_from([0.5, 1.0, 2.5, 4.0])


@given(st.dictionaries(st.sampled_from(PLACES), VALUES))
def test_the_first_place_counts_and_is_kept(
    tmp_path_factory: pytest.TempPathFactory, values: Mapping[str, float]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file, vendor_file = folder / "layers.toml", folder / "layers-vendor"
    file.write_text(f"spacing = {values['file']}" if "file" in values else "")
    vendor = values.get("vendor's file")
    vendor_file.write_text("" if vendor is None else f"CLUSTERCTRL_DELAY={vendor}")
    settings = load_settings(
        {"spacing": values.get("argument")},
        command_line={"spacing": Given(values["option"], Origin("option", "--spacing"))}
        if "option" in values
        else {},
        env={"RPI_CLUSTERHAT_SPACING": str(values["variable"])} if "variable" in values else {},
        config=str(file),
        vendor_file=str(vendor_file),
    )
    first = next((place for place in PLACES if place in values), None)
    if first is None:
        assert (settings.spacing, dict(settings.origins)) == (2.0, {})
    else:
        assert (settings.spacing, settings.origins["spacing"].source) == (values[first], first)


@given(
    st.dictionaries(st.sampled_from(PLACES[:4]), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)))
)
def test_options_are_merged_one_by_one_with_their_origins(
    tmp_path_factory: pytest.TempPathFactory, values: Mapping[str, Mapping[str, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "merged.toml"
    lines = "\n".join(f"{key} = {value}" for key, value in values.get("file", {}).items())
    file.write_text(f"[options]\n{lines}")
    given_on_line = {k: Given(v, Origin("option", "-o")) for k, v in values.get("option", {}).items()}
    [board] = load_settings(
        {"options": values.get("argument")},
        command_line={"options": Given(given_on_line, Origin("option", "-o"))},
        env={
            "RPI_CLUSTERHAT_OPTIONS": " ".join(f"{k}={v}" for k, v in values.get("variable", {}).items()),
        },
        config=str(file),
        vendor_file="/nowhere",
    ).boards
    expected: dict[str, tuple[str, str]] = {}
    for place in reversed(PLACES[:4]):
        expected.update({key: (str(value), place) for key, value in values.get(place, {}).items()})
    found = {k: (str(v), board.option_origins[k].source) for k, v in board.options.items()}
    assert found == expected
