"""How plugins are found and loaded, and their options read: with distributions made for the test."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import (
    AmbiguousBackendError,
    BackendUnavailableError,
    SettingError,
    UnknownBackendError,
)
from rpi_clusterhat.hardware.backend import OpenRequest, Option, Plugin, parse_bool, parse_int
from rpi_clusterhat.hardware.discovery import GROUP, Installed, installed, load, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rpi_clusterhat.hardware.backend import Backend

    Add = Callable[..., None]

BUILT_IN = ["gpiod", "i2c", "sim", "sysfs"]
MODULE = """
from rpi_clusterhat.hardware.backend import Plugin
plugin = Plugin("a stranger's", (), open=lambda opening: None)
not_a_plugin = 7
"""


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Installs a distribution that offers backends: their names and targets."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)

    def call(distribution: str, *, module: str = "", source: str = MODULE, **backends: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {target}" for name, target in backends.items())
        (info / "entry_points.txt").write_text(
            f"[console_scripts]\nx = y:z\n\n[{GROUP}]\n{lines}\n\n[other]\nstray = a:b\n"
        )
        if module:
            (tmp_path / f"{module}.py").write_text(source)
        importlib.invalidate_caches()

    yield call
    for name in set(sys.modules) - before:
        if name.startswith("stranger"):
            del sys.modules[name]


def test_the_built_in_ones_are_installed_like_a_strangers(add: Add) -> None:
    add("rpi-stranger", module="stranger_one", stranger="stranger_one:plugin")
    found = installed()
    assert [p.name for p in found] == sorted([*BUILT_IN, "stranger"])
    assert Installed("stranger", "stranger_one:plugin", "rpi-stranger") in found
    assert all(p.distribution == "rpi-clusterhat" for p in found if p.name in BUILT_IN)
    assert "stranger_one" not in sys.modules


LISTING = """
import sys
from rpi_clusterhat.hardware.discovery import installed
names = [p.name for p in installed()]
print(names, sorted(name for name in sys.modules if name.startswith(("rpi_clusterhat_", "gpiod", "smbus"))))
"""


def test_listing_imports_none_of_them() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", LISTING], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{BUILT_IN} []\n", "")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_ones_load(name: str) -> None:
    plugin = load(name)
    assert plugin.summary
    assert all(option.help for option in plugin.options)
    assert parse_options(name, plugin, {}, "-o") == {option.name: option.default for option in plugin.options}


def test_a_strangers_plugin_loads(add: Add) -> None:
    add("rpi-stranger", module="stranger_two", stranger="stranger_two:plugin")
    plugin = load("stranger")
    assert plugin.summary == "a stranger's"
    plugin.check({})  # what is not said to be unusable is usable


def test_one_that_nobody_offers(add: Add) -> None:
    for name in ("i3c", "stray", "x", ""):
        with pytest.raises(UnknownBackendError) as caught:
            load(name)
        assert str(caught.value) == (
            f"no backend is called {name!r}: installed in the group {GROUP} are gpiod, i2c, sim, sysfs"
        )


def test_one_that_two_offer(add: Add) -> None:
    add("rpi-stranger", stranger="stranger_three:plugin")
    add("another-stranger", stranger="stranger_four:plugin")
    with pytest.raises(AmbiguousBackendError) as caught:
        load("stranger")
    assert str(caught.value) == (
        "the backend 'stranger' is offered by another-stranger and rpi-stranger: uninstall one of them"
    )


def test_one_that_offers_the_name_of_a_built_in_one(add: Add) -> None:
    add("rpi-stranger", sim="stranger_five:plugin")
    with pytest.raises(AmbiguousBackendError, match=r"'sim' is offered by rpi-clusterhat and rpi-stranger"):
        load("sim")


SIX = "stranger_six:plugin"


@pytest.mark.parametrize(
    ("target", "source", "reason"),
    [
        (SIX, None, " cannot be loaded from stranger_six:plugin: No module named 'stranger_six'"),
        (SIX, "raise OSError('no driver')", " cannot be loaded from stranger_six:plugin: no driver"),
        (SIX, "raise SystemExit(0)", " cannot be loaded from stranger_six:plugin: 0"),
        (SIX, "import stranger_nil", " cannot be loaded from .*: No module named 'stranger_nil'"),
        ("stranger_six:pulgin", MODULE, " cannot be loaded from .*: .* has no attribute 'pulgin'"),
        ("stranger_six", MODULE, " cannot be loaded from stranger_six: "),
        ("stranger_six:not_a_plugin", MODULE, ": stranger_six:not_a_plugin is not a Plugin"),
    ],
)
def test_one_that_is_broken_is_not_unknown(add: Add, target: str, source: str | None, reason: str) -> None:
    add("rpi-stranger", module="stranger_six" if source else "", source=source or "", stranger=target)
    with pytest.raises(BackendUnavailableError, match=rf"^the backend 'stranger' of rpi-stranger{reason}"):
        load("stranger")
    assert "stranger" in {p.name for p in installed()}


def test_another_distribution_that_is_broken_is_in_nobodys_way(add: Add, tmp_path: Path) -> None:
    add("broken-stranger", other="stranger_eight:plugin")
    (tmp_path / "broken_stranger-1.0.dist-info" / "entry_points.txt").write_bytes(b"[x]\n\xff\xfe = y")
    assert load("sim").summary


# Options ---------------------------------------------------------------------------------------------------


def never_open(opening: OpenRequest) -> Backend:
    raise AssertionError(opening)


PLUGIN = Plugin(
    "for tests",
    (
        Option("bus", parse_int(0, 9), 1, "number of the bus"),
        Option("address", parse_int(0x03, 0x77), 0x20, "address"),
        Option("quiet", parse_bool, False, "says less"),
        Option("note", str, "", "text that is kept"),
    ),
    open=never_open,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"bus": 2, "address": "0x21", "quiet": True}, {"bus": 2, "address": 0x21, "quiet": True}),
        ({"bus": " 2 ", "address": "33", "quiet": "Yes"}, {"bus": 2, "address": 0x21, "quiet": True}),
        ({"address": 33, "quiet": False}, {"address": 33}),
        ({"note": 3}, {"note": "3"}),
        ({"note": Path("/a")}, {"note": "/a"}),
    ],
)
def test_options(given: dict[str, object], expected: dict[str, object]) -> None:
    defaults = {"bus": 1, "address": 0x20, "quiet": False, "note": ""}
    assert parse_options("mine", PLUGIN, given, "-o") == {**defaults, **expected}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"buss": 1},
            (
                "Unknown option 'buss' of the backend mine (from hat.toml): did you mean bus? "
                "Known are bus, address, quiet, note"
            ),
        ),
        ({"bus": 10}, "Invalid value for option bus: 10 (from hat.toml): expected a number from 0 to 9"),
        ({"bus": "x"}, "Invalid value for option bus: 'x' (from hat.toml): expected a number from 0 to 9"),
        (
            {"bus": "1\n2"},
            "Invalid value for option bus: '1\\n2' (from hat.toml): expected a number from 0 to 9",
        ),
        ({"bus": None}, "Invalid value for option bus: None (from hat.toml): expected a number from 0 to 9"),
        ({"bus": True}, "Invalid value for option bus: True (from hat.toml): expected a number from 0 to 9"),
        ({"bus": [1]}, "Invalid value for option bus: [1] (from hat.toml): expected a number from 0 to 9"),
        (
            {"address": "0x78"},
            "Invalid value for option address: '0x78' (from hat.toml): expected a number from 3 to 119",
        ),
        ({"quiet": "maybe"}, "Invalid value for option quiet: 'maybe' (from hat.toml): expected yes or no"),
        ({"quiet": None}, "Invalid value for option quiet: None (from hat.toml): expected yes or no"),
        ({"note": None}, "Invalid value for option note: None (from hat.toml): expected a number or text"),
        ({"note": True}, "Invalid value for option note: True (from hat.toml): expected a number or text"),
        ({"note": ["a"]}, "Invalid value for option note: ['a'] (from hat.toml): expected a number or text"),
        (
            {"note": "a\0"},
            "Invalid value for option note: 'a\\x00' (from hat.toml): expected text without NUL characters",
        ),
    ],
)
def test_a_wrong_option(given: dict[str, object], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_options("mine", PLUGIN, given, "hat.toml")
    assert str(caught.value) == text


def test_a_plugin_without_options_says_so() -> None:
    with pytest.raises(
        SettingError, match=r"^Unknown option 'bus' of the backend mine \(from -o\)\. Known are none$"
    ):
        parse_options("mine", PLUGIN.replaced(options=()), {"bus": 1}, "-o")


@given(
    st.dictionaries(
        st.sampled_from(["bus", "address", "quiet", "note"]), st.text() | st.integers() | st.booleans()
    )
)
def test_no_option_raises_anything_but_a_setting_error(given: dict[str, Any]) -> None:
    try:
        values = parse_options("mine", PLUGIN, given, "-o")
    except SettingError as error:
        text = str(error)
        assert "\n" not in text
    else:
        assert (0 <= values["bus"] <= 9, 3 <= values["address"] <= 0x77) == (True, True)
        assert type(values["quiet"]) is bool
