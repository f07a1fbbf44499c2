"""Settings: where they are said, and which counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from tests.base.loading import Load


def test_nothing_said(load: Load) -> None:
    settings = load()
    assert (settings.spacing, settings.lock_dir) == (2.0, DEFAULT_LOCK_DIR)
    [one] = settings.boards
    assert (one.version, one.backend, one.nodes, one.rail, dict(one.options)) == (
        None,
        None,
        None,
        "main",
        {},
    )


EVERYWHERE: dict[str, Any] = {
    "code": {"board": "1.1", "nodes": 1, "spacing": 1.0},
    "env": {"BOARD": "1.2", "NODES": "2", "SPACING": "2.5"},
    "toml": 'board = "1.3"\nnodes = 3\nspacing = 3',
    "vendor": "CLUSTERHAT_FORCE=1.4\nCLUSTERHAT_SIZE=4\nCLUSTERCTRL_DELAY=4",
}


@pytest.mark.parametrize("silent", range(5))
def test_who_speaks_first_counts(load: Load, silent: int) -> None:
    places = dict(list(EVERYWHERE.items())[silent:])
    settings = load(places.pop("code", None), **places)
    [one] = settings.boards
    expected = [("1.1", 1, 1.0), ("1.2", 2, 2.5), ("1.3", 3, 3.0), ("1.4", 4, 4.0), (None, None, 2.0)]
    assert (one.version, one.nodes, settings.spacing) == expected[silent]


def test_each_setting_is_looked_for_by_itself(load: Load) -> None:
    settings = load(
        {"board": None, "rail": "usb"},
        env={"SPACING": "5"},
        toml='backend = "i2c"\noptions = {bus = 2}\nrail = "x"',
        vendor="CLUSTERHAT_FORCE=2.3",
    )
    [one] = settings.boards
    assert (one.version, one.backend, one.rail, settings.spacing) == ("2.3", "i2c", "usb", 5.0)
    assert dict(one.options) == {"bus": 2}


def test_values_may_be_said_as_text_or_as_what_they_are(load: Load) -> None:
    settings = load({"nodes": "2", "spacing": "0.5", "board": " 2.3 ", "boards": None})
    assert (settings.boards[0].nodes, settings.spacing, settings.boards[0].version) == (2, 0.5, "2.3")


def test_a_lock_folder_may_be_a_path_or_begin_at_home(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/zero")
    assert load({"lock_dir": tmp_path}).lock_dir == str(tmp_path)
    assert load(env={"LOCK_DIR": "~/locks"}).lock_dir == "/home/zero/locks"


# Options -------------------------------------------------------------------------------------------------


def test_options_are_merged_key_by_key(load: Load) -> None:
    settings = load(
        {"options": {"bus": 5}},
        env={"OPTIONS": "address=0x21 name='two words'"},
        toml="options = {bus = 1, address = 0x22, other-name = 7}",
    )
    assert dict(settings.boards[0].options) == {
        "bus": 5,
        "address": "0x21",
        "name": "two words",
        "other_name": 7,
    }


@pytest.mark.parametrize(
    ("code", "env", "expected"),
    [
        ({}, {}, {"bus": 2}),
        ({"backend": "i2c"}, {}, {"bus": 2}),
        ({"backend": "sim"}, {}, {}),
        ({}, {"BACKEND": "sim"}, {}),
        ({"backend": "sim", "options": {"seed": 1}}, {}, {"seed": 1}),
        ({"backend": "sim"}, {"OPTIONS": "seed=2"}, {"seed": "2"}),
    ],
)
def test_options_of_a_backend_that_is_not_used_are_set_aside(
    load: Load, code: dict[str, object], env: dict[str, str], expected: dict[str, object]
) -> None:
    settings = load(code, env=env, toml='backend = "i2c"\noptions = {bus = 2}')
    assert dict(settings.boards[0].options) == expected


# Several boards ------------------------------------------------------------------------------------------

TWO = """
backend = "i2c"
options = {bus = 1}
rail = "usb"
[[boards]]
board = "2.3"
options = {address = 0x20}
[[boards]]
board = "1.1"
backend = "gpiod"
nodes = 2
rail = "own"
"""


def test_several_boards_take_what_they_do_not_say_from_the_top(load: Load) -> None:
    first, second = load(toml=TWO).boards
    assert (first.version, first.backend, first.nodes, first.rail) == ("2.3", "i2c", None, "usb")
    assert dict(first.options) == {"bus": 1, "address": 0x20}
    assert (second.version, second.backend, second.nodes, second.rail) == ("1.1", "gpiod", 2, "own")
    assert dict(second.options) == {}


@pytest.mark.parametrize(("code", "env"), [({"backend": "sim"}, {}), ({}, {"BACKEND": "sim"})])
def test_a_backend_that_is_said_above_the_list_counts_for_every_board(
    load: Load, code: dict[str, object], env: dict[str, str]
) -> None:
    boards = load(code, env=env, toml=TWO).boards
    assert [one.backend for one in boards] == ["sim", "sim"]
    assert [dict(one.options) for one in boards] == [{}, {}]
    assert [one.version for one in boards] == ["2.3", "1.1"]


def test_rail_and_options_above_the_list_count_too(load: Load) -> None:
    first, second = load({"rail": "one", "options": {"bus": 7}}, toml=TWO).boards
    assert (first.rail, second.rail) == ("one", "one")
    assert dict(first.options) == {"bus": 7, "address": 0x20}


def test_what_is_said_below_the_list_is_for_boards_that_say_nothing(load: Load) -> None:
    first, second = load(
        {"boards": [{"board": "2.3"}, {"board": "1.1", "backend": "sysfs"}]},
        toml='backend = "i2c"\noptions = {bus = 2}',
    ).boards
    assert (first.backend, dict(first.options)) == ("i2c", {"bus": 2})
    assert (second.backend, dict(second.options)) == ("sysfs", {})


def test_one_board_said_above_sets_the_list_below_aside_and_the_other_way_round(load: Load) -> None:
    assert [b.version for b in load({"board": "3.1"}, toml=TWO).boards] == ["3.1"]
    assert [b.version for b in load(toml=TWO, vendor="CLUSTERHAT_FORCE=3.0\nCLUSTERHAT_SIZE=1").boards] == [
        "2.3",
        "1.1",
    ]
