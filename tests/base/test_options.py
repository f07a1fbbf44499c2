"""Options and their parsers: what each takes, as text or as what it is, and what it says of the rest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings import Given, Option, Origin, Parser, parse_bool, parse_int
from rpi_clusterhat.settings.option import choice, named_types, read_value, seconds, text, whole

HERE = Origin("option", "--it")
IN_FILE = Origin("file", "it", "a.toml")
TIME = seconds(100.0)
NEVER = Parser(lambda word: math.inf if word == "never" else TIME(word), (int, float), ("never",))


def read(parse: Any, value: object, origin: Origin = HERE, **how: bool) -> Any:
    return read_value(parse, Given(value, origin), "it", **how)


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (parse_int(0, 99), "0x20", 32),
        (parse_int(-5, 99), " -3 ", -3),
        (parse_int(0, 99), 32, 32),
        (whole(1, 4), "4", 4),
        (TIME, "1e1", 10.0),
        (TIME, 5, 5.0),
        (TIME, "-0", 0.0),
        (NEVER, "never", math.inf),
        (parse_bool, "On", True),
        (parse_bool, False, False),
        (parse_bool, 1, True),
        (text, "  a b ", "a b"),
        (text, Path("/a"), "/a"),
        (choice("a", "b"), "b", "b"),
        (str.upper, 3, "3"),
        (str.upper, "a", "A"),
    ],
)
def test_what_is_taken(parse: Any, value: object, expected: object) -> None:
    found = read(parse, value)
    assert (found, type(found)) == (expected, type(expected))
    assert math.copysign(1, found) == math.copysign(1, expected) if isinstance(expected, float) else True


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (parse_int(3, 119), "x", "'x' (from --it): expected a number from 3 to 119"),
        (parse_int(0, 9), True, "True (from --it): expected a number from 0 to 9"),
        (parse_int(0, 9), 3.0, "3.0 (from --it): expected a number from 0 to 9"),
        (whole(1, 4), "٣", "'٣' (from --it): expected a whole number from 1 to 4"),
        (whole(1, 4), "9" * 100, f"'{'9' * 79}… (from --it): expected a whole number from 1 to 4"),
        (seconds(9, above=True), "0", "'0' (from --it): expected seconds above 0, up to 9"),
        (TIME, "1_0", "'1_0' (from --it): expected seconds from 0 to 100"),
        (TIME, math.nan, "nan (from --it): expected seconds from 0 to 100"),
        (parse_bool, None, "None (from --it): expected yes or no"),
        (text, "  ", "'  ' (from --it): expected text that is not empty"),
        (text, True, "True (from --it): expected text"),
        (text, b"a", "b'a' (from --it): expected text"),
        (text, ["a"], "['a'] (from --it): expected text"),
        (text, "a\0b", "'a\\x00b' (from --it): expected text without NUL characters"),
        (choice("a", "b"), "c", "'c' (from --it): expected one of a, b"),
        (str.upper, True, "True (from --it): expected a number or text"),
        (str.upper, None, "None (from --it): expected a number or text"),
    ],
)
def test_what_is_refused(parse: Any, value: object, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(parse, value)
    assert str(caught.value) == f"Invalid value for it: {expected}"


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (whole(1, 4), "3", "'3' (from a.toml: it): expected a whole number"),
        (NEVER, "3", "'3' (from a.toml: it): expected a number or \"never\""),
        (text, 2.3, '2.3 (from a.toml: it): expected text in quotes, "2.3"'),
        (Parser(str, (str, bool)), [], "[] (from a.toml: it): expected true or false or text in quotes"),
    ],
)
def test_a_file_may_be_held_to_its_own_types(parse: Any, value: object, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(parse, value, IN_FILE, numbers_as_text=False)
    assert str(caught.value) == f"Invalid value for it: {expected}"
    assert read(NEVER, "never", IN_FILE, numbers_as_text=False) == math.inf


def test_a_number_that_python_does_not_write() -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for it: a huge number \(from --it\): expected a"):
        read(parse_int(0, 9), 10**5000)


def test_types_in_words() -> None:
    assert named_types((int, float)) == "a number"
    assert named_types((str, int, bool)) == "a whole number or true or false or text in quotes"
    assert named_types((str,), in_file=False) == "text"


def test_a_bytes_path_is_no_text() -> None:
    class BytesPath:
        def __fspath__(self) -> bytes:
            return b"/a"

    with pytest.raises(SettingError, match=r"expected text$"):
        read(text, BytesPath())


def test_an_option_has_its_flag() -> None:
    assert Option("lock_dir", text, None, "a folder").flag == "--lock-dir"
    assert Option("options", text, None, "pairs", flags=("-o", "--option")).flag == "--option"


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (Origin("argument"), ""),
        (Origin("default"), "default"),
        (Origin("option", "--spacing"), "--spacing"),
        (Origin("file", "options.bus", "/a.toml"), "/a.toml: options.bus"),
        (Origin("HAT", "", "/proc/hat"), "/proc/hat"),
    ],
)
def test_an_origin_in_words(origin: Origin, words: str) -> None:
    assert str(origin) == words


PARSERS = [parse_bool, parse_int(0, 9), whole(0, 9), TIME, NEVER, text, choice("a"), str.upper]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)


@given(st.sampled_from(PARSERS), VALUES, st.booleans(), st.sampled_from([HERE, IN_FILE]))
def test_any_value_is_taken_or_refused_in_one_line(
    parse: Any, value: object, numbers_as_text: bool, origin: Origin
) -> None:
    try:
        found = read(parse, value, origin, numbers_as_text=numbers_as_text)
    except SettingError as error:
        words = str(error)
    else:
        assert isinstance(value, (bool, int, float, str))
        assert isinstance(found, (bool, int, float, str))
        return
    assert words.startswith("Invalid value for it: ")
    assert f" (from {origin}): expected " in words
    assert "\n" not in words


@given(st.integers(0, 9))
def test_a_number_means_the_same_in_every_form(number: int) -> None:
    for parse in (parse_int(0, 9), whole(0, 9)):
        assert read(parse, number) == read(parse, str(number)) == number
    assert read(parse_int(0, 9), hex(number)) == number
    assert read(TIME, number) == read(TIME, float(number)) == read(TIME, str(number)) == number
