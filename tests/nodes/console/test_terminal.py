"""Which of the keys that are typed are for the node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.nodes.console.keys import ESCAPE, Keys, Wish, key_name, read_key


def meant(data: bytes, escape: bytes) -> list[bytes | Wish]:
    """Key by key, what it is."""
    found: list[bytes | Wish] = []
    keys = iter(data[i : i + 1] for i in range(len(data)))
    for key in keys:
        if key != escape:
            found.append(key)
        elif (second := next(keys, None)) is not None:
            wishes: dict[bytes, bytes | Wish] = {b".": Wish.LEAVE, b"z": Wish.SUSPEND, escape: escape}
            found.append(wishes.get(second, Wish.HELP))
    return found


TYPED = st.text("a.?z\x1d\n", max_size=40).map(str.encode)


@given(st.lists(TYPED, max_size=5), st.sampled_from([ESCAPE, b"a", b"."]))
def test_each_key_is_for_the_node_or_for_this_program_however_keys_come(
    parts: list[bytes], escape: bytes
) -> None:
    keys = Keys(escape)
    found = [each for part in parts for each in keys.typed(part)]
    single: list[bytes | Wish] = []
    for each in found:
        assert each
        if isinstance(each, bytes):
            single += [each[i : i + 1] for i in range(len(each))]
        else:
            single.append(each)
    assert single == meant(b"".join(parts), escape)


@given(st.binary(max_size=100))
def test_without_an_escape_key_all_is_for_the_node(data: bytes) -> None:
    assert b"".join(each for each in Keys(b"").typed(data) if isinstance(each, bytes)) == data


@pytest.mark.parametrize(
    ("text", "key", "name"),
    [
        ("^]", b"\x1d", "Ctrl-]"),
        ("Ctrl-]", b"\x1d", "Ctrl-]"),
        ("^a", b"\x01", "Ctrl-A"),
        ("ctrl-A", b"\x01", "Ctrl-A"),
        ("~", b"~", "~"),
        ("^", b"^", "^"),
    ],
)
def test_names_of_keys(text: str, key: bytes, name: str) -> None:
    assert read_key(text) == key
    assert key_name(key) == name


def test_no_escape_key() -> None:
    assert read_key("none") == b""


@pytest.mark.parametrize("text", ["", "ab", "^é", "ä", "Ctrl-", "^ab", "^?", "\x1d", "ctrl-1"])
def test_names_of_no_key(text: str) -> None:
    with pytest.raises(SettingError, match=r"escape"):
        read_key(text)
