"""Settings that are wrong: what is said of them, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings import library as settings_module
from rpi_clusterhat.settings import load_settings, parse_pairs
from tests.base.loading import check

if TYPE_CHECKING:
    from pathlib import Path

    from tests.base.loading import Load


KINDS: list[tuple[str, str, str]] = [
    ("board", "2.3", 'text in quotes, "2.3"'),
    ("board", "''", "text that is not empty"),
    ("backend", "3", "text in quotes"),
    ("rail", "true", "text in quotes"),
    ("lock_dir", "[]", "text in quotes"),
    ("nodes", "0", "a whole number from 1 to 4"),
    ("nodes", "5", "a whole number from 1 to 4"),
    ("nodes", "-1", "a whole number from 1 to 4"),
    ("nodes", "2.0", "a whole number from 1 to 4"),
    ("nodes", "true", "a whole number from 1 to 4"),
    ("nodes", "'²'", "a whole number from 1 to 4"),
    ("spacing", "-1", "seconds from 0 to 3600"),
    ("spacing", "3601", "seconds from 0 to 3600"),
    ("spacing", "nan", "seconds from 0 to 3600"),
    ("spacing", "inf", "seconds from 0 to 3600"),
    ("spacing", "true", "seconds from 0 to 3600"),
    ("spacing", "'soon'", "seconds from 0 to 3600"),
    ("spacing", "1" + "0" * 400, "seconds from 0 to 3600"),
    ("options", "7", "a table of options"),
    ("boards", "'2.3'", "a list of boards"),
    ("boards", "[]", "at least one board"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), KINDS)
def test_a_wrong_value_names_file_and_key_and_what_is_allowed(
    load: Load, tmp_path: Path, key: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingError) as caught:
        load(toml=f"{key} = {value}")
    text = str(caught.value)
    assert text.startswith(f"Invalid value for {key}: ")
    assert text.endswith(f" (from {tmp_path}/hat.toml: {key}): expected {allowed}")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("key", "value", "allowed"), [k for k in KINDS if k[0] in ("nodes", "options", "rail")]
)
def test_a_wrong_value_of_one_of_several_boards_names_the_board(
    load: Load, tmp_path: Path, key: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingError) as caught:
        load(toml=f'boards = [{{board = "2.3"}}, {{{key} = {value}}}]')
    assert str(caught.value).startswith(f"Invalid value for {key}: ")
    assert str(caught.value).endswith(f" (from {tmp_path}/hat.toml: {key} of board 2): expected {allowed}")


def test_a_version_without_quotes_is_told_how_to_write_it(load: Load) -> None:
    with pytest.raises(SettingError, match=r'expected text in quotes, "2\.3"$'):
        load(toml="board = 2.3")


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        (
            "bord = '2.3'",
            (
                "Unknown setting 'bord' (from FILE: bord): did you mean board? "
                "Known are board, backend, nodes, rail, options, spacing, lock_dir, boards"
            ),
        ),
        (
            "boards = [{bord = '2.3'}]",
            (
                "Unknown setting 'bord' (from FILE: bord of board 1): did you mean board? "
                "Known are board, backend, nodes, rail, options"
            ),
        ),
        ("xyz = 1", "Unknown setting 'xyz' (from FILE: xyz). Known are board, backend, "),
        (
            "boards = ['2.3']",
            "Invalid value for board 1: '2.3' (from FILE: boards): expected a table such as {board = '2.3'}",
        ),
        ("board = '2.3'\nboards = []", "Set either board or boards, not both (from FILE: boards)"),
        ("lock-dir = '/a'\nlock_dir = '/b'", "Setting lock_dir is set twice (from FILE: lock_dir)"),
        (
            "[options]\na-b = 1\na_b = 1",
            "Invalid value for options: {'a-b': 1, 'a_b': 1} (from FILE: options): expected a_b only once",
        ),
        ("board = ", "Cannot read FILE (from config): the file is not TOML: "),
    ],
)
def test_a_wrong_file(load: Load, tmp_path: Path, toml: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(toml=toml)
    assert str(caught.value).startswith(text.replace("FILE", f"{tmp_path}/hat.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (
            {"NODES": "x"},
            "Invalid value for nodes: 'x' (from RPI_CLUSTERHAT_NODES): expected a whole number from 1 to 4",
        ),
        (
            {"SPACING": "2s"},
            "Invalid value for spacing: '2s' (from RPI_CLUSTERHAT_SPACING): expected seconds from 0 to 3600",
        ),
        (
            {"OPTIONS": "bus"},
            "Invalid value for options: 'bus' (from RPI_CLUSTERHAT_OPTIONS): expected KEY=VALUE",
        ),
        (
            {"OPTIONS": "name='x"},
            (
                'Invalid value for options: "name=\'x" (from RPI_CLUSTERHAT_OPTIONS): '
                "expected words of a shell (No closing quotation)"
            ),
        ),
    ],
)
def test_a_wrong_variable(load: Load, env: dict[str, str], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(env=env)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            {"spacing": object},
            "Invalid value for spacing: <class 'object'>: expected seconds from 0 to 3600",
        ),
        ({"spacing": [2]}, "Invalid value for spacing: [2]: expected seconds from 0 to 3600"),
        ({"boards": "2.3"}, "Invalid value for boards: '2.3': expected a list of boards"),
        (
            {"boards": [{"board": True}]},
            "Invalid value for board: True (from board of board 1): expected text",
        ),
        (
            {"boards": [{"bord": "2.3"}]},
            (
                "Unknown setting 'bord' (from board 1): did you mean board? "
                "Known are board, backend, nodes, rail, options"
            ),
        ),
        ({"options": "bus=1"}, "Invalid value for options: 'bus=1': expected a table of options"),
        ({"options": {1: 2}}, "Invalid value for options: {1: 2}: expected a table whose keys are text"),
        ({"board": "2.3", "boards": ["2.3"]}, "Set either board or boards, not both"),
        ({"board": 2.3}, "Invalid value for board: 2.3: expected text"),
        ({"rail": True}, "Invalid value for rail: True: expected text"),
        ({"lock_dir": ["/run"]}, "Invalid value for lock_dir: ['/run']: expected text"),
        (
            {"lock_dir": "locks"},
            "Invalid value for lock_dir: 'locks': expected the whole path of a folder, from / on",
        ),
        ({"backend": b"sim"}, "Invalid value for backend: b'sim': expected text"),
        ({"nodes": 2.0}, "Invalid value for nodes: 2.0: expected a whole number from 1 to 4"),
    ],
)
def test_a_wrong_argument(load: Load, code: dict[str, object], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        load(code)
    assert str(caught.value) == text


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing, folder = str(tmp_path / "missing.toml"), str(tmp_path)
    with pytest.raises(SettingError, match=r"missing\.toml \(from .*\): No such file"):
        load_settings({}, config=missing, env={})
    with pytest.raises(SettingError, match=r"missing\.toml \(from .*\): No such file"):
        load_settings({}, env={"RPI_CLUSTERHAT_CONFIG": missing})
    with pytest.raises(SettingError, match=r"^Cannot read .* \(from config\): Is a directory$"):
        load_settings({}, config=folder, env={})
    (tmp_path / "bytes.toml").write_bytes(b"board = '\xff'")
    with pytest.raises(SettingError, match="the file is not TOML: "):
        load_settings({}, config=str(tmp_path / "bytes.toml"), env={})


def test_the_first_file_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(settings_module, "_FILES", ("~/own.toml", str(tmp_path / "etc.toml")))
    (tmp_path / "etc.toml").write_text("spacing = 5")
    assert load_settings({}, env={}).spacing == 5.0
    (tmp_path / "own.toml").write_text("spacing = 4")
    assert load_settings({}, env={}).spacing == 4.0
    (tmp_path / "named.toml").write_text("spacing = 3")
    assert load_settings({}, env={"RPI_CLUSTERHAT_CONFIG": "~/named.toml"}).spacing == 3.0
    assert (
        load_settings({}, config=str(tmp_path / "etc.toml"), env={"RPI_CLUSTERHAT_CONFIG": "x"}).spacing
        == 5.0
    )


def test_the_process_environment_is_asked_where_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPI_CLUSTERHAT_SPACING", "7")
    assert load_settings({}).spacing == 7.0


@pytest.mark.parametrize("text", ["bus", "=1", ""])
def test_pairs(text: str) -> None:
    assert parse_pairs(["a=b=c", "d="], "-o") == {"a": "b=c", "d": ""}
    with pytest.raises(
        SettingError, match=r"^Invalid value for options: .* \(from -o\): expected KEY=VALUE$"
    ):
        parse_pairs([text], "-o")


# Anything at all ---------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from(["BOARD", "BACKEND", "NODES", "RAIL", "OPTIONS", "SPACING", "LOCK_DIR", "BOARDS"]),
        st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8),
    )
)
def test_nothing_in_the_environment_but_a_setting_error(env: dict[str, str]) -> None:
    check(lambda: load_settings({}, env={f"RPI_CLUSTERHAT_{k}": v for k, v in env.items()}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["board", "backend", "nodes", "rail", "options", "spacing", "lock_dir", "boards"])


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"spacing": 10**400})
@example({"boards": [{1: 2}]})
def test_nothing_a_caller_says_but_a_setting_error(code: dict[str, Any]) -> None:
    check(lambda: load_settings(code, env={}))


def test_each_option_is_blamed_on_its_own_place(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('backend = "sim"\n[options]\ncapacity = "abc"\n')
    [said] = load_settings(
        {"options": {"idle": 0.1}}, config=str(file), env={}, vendor_file="/nowhere"
    ).boards
    assert {key: str(origin) for key, origin in said.option_origins.items()} == {
        "idle": "",
        "capacity": f"{file}: options.capacity",
    }


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('rail = "' + "r" * 65 + '"', "rail"),
        ('rail = "a b"', "rail"),
        ('lock_dir = "/tmp/a\\u0000b"', "lock_dir"),
        ("options = " + "[" * 5000 + "]" * 5000, "nested"),
    ],
)
def test_what_no_file_or_parser_could_take(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(SettingError) as caught:
        load_settings({}, config=str(file), env={}, vendor_file="/nowhere")
    assert str(file) in str(caught.value)
    assert where in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_list_of_boards_is_no_variable() -> None:
    with pytest.raises(SettingError, match=r"RPI_CLUSTERHAT_BOARDS: .*settings file"):
        load_settings({}, env={"RPI_CLUSTERHAT_BOARDS": "x"}, vendor_file="/nowhere")
