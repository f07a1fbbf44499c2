"""The boards as data, and which one is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import BoardNotFoundError, SettingError
from rpi_clusterhat.hardware.boards import KINDS, Board, Role, board, detect, node_names

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = [f"{major}.{minor}" for major in (1, 2, 3) for minor in range(16)]
BITS = {"p1": 0, "p2": 1, "p3": 2, "p4": 3}


def lines(one: Board) -> dict[str, int]:
    return {line.name: line.offset for line in one.lines}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_lines_of_every_version(version: str) -> None:
    one = board(version)
    assert (one.version, one.size) == (version, 4)
    if version.startswith("1."):
        assert lines(one) == {"p1": 6, "p2": 13, "p3": 19, "p4": 26, "alert": 5}
        assert (one.expander, one.backends) == (False, ("gpiod", "sysfs"))
    else:
        eeprom = {"led": 4, "wp": 7} if version.startswith("2.") else {}
        assert lines(one) == {**BITS, "hub": 5, "alert": 6, **eeprom}
        assert (one.expander, one.backends) == (True, ("i2c",))
        assert one.functions["hub"].level(on=True) is (version == "2.0")
        assert one.functions["alert"].level(on=True)
    assert all(role.level(on=True) and not role.level(on=False) for role in one.power)


def test_every_kind_can_be_told_to_people() -> None:
    assert [kind.name for kind in KINDS.values()] == ["1.x", "2.0", "2.1 and later", "3.x"]
    assert all(kind.note for kind in KINDS.values())


@pytest.mark.parametrize(
    ("text", "version"),
    [("2.3", "2.3"), (" v2.3 ", "2.3"), ("V3.1", "3.1"), ("2.03", "2.3"), ("2.0", "2.0"), ("1.15", "1.15")],
)
def test_how_a_version_may_be_written(text: str, version: str) -> None:
    assert board(text).version == version


@pytest.mark.parametrize(
    "text",
    ["", "2", "2.", ".3", "4.0", "0.1", "2.16", "2.x", "2.3.1", "2.-1", "2,3", "2.²", "two", "2.3b", "2.003"],
)
def test_a_version_that_does_not_exist(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        board(text, where="hat.toml: board")
    assert str(caught.value) == (
        f"Invalid value for board: {text!r} (from hat.toml: board): "
        "expected 1.x, 2.x or 3.x with x from 0 to 15, such as 2.3"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_board_with_fewer_nodes_still_has_all_its_sockets(size: int) -> None:
    one = board("2.3", size)
    assert one.size == size
    assert len(one.power) == 4


@pytest.mark.parametrize("size", [-1, 0, 5])
def test_a_board_has_one_to_four_nodes(size: int) -> None:
    with pytest.raises(
        SettingError, match=rf"^Invalid value for nodes: {size}: expected a whole number from 1 to 4$"
    ):
        board("2.3", size)


@pytest.mark.parametrize("active_low", [False, True])
def test_level_and_state_of_a_line_agree(active_low: bool) -> None:
    role = Role(3, active_low)
    for on in (False, True):
        assert role.is_on({3: role.level(on=on)}) is on
    assert role.level(on=True) is not active_low


@given(st.sampled_from([v for v in VERSIONS if v[0] != "1"]), st.integers(0, 255))
def test_first_levels(version: str, pins: int) -> None:
    one = board(version)
    levels = one.first_levels({offset: bool(pins >> offset & 1) for offset in range(8)})
    powered = {levels[role.offset] for role in one.power}
    assert powered == {pins & 0x0F == 0x0F}, "the nodes are all on or all off"
    expected = {"alert": False, "hub": version == "2.0", "led": True, "wp": True}
    assert {n: levels[r.offset] for n, r in one.functions.items()} == {n: expected[n] for n in one.functions}
    assert set(levels) == {line.offset for line in one.lines}


def test_nodes_are_numbered_on() -> None:
    assert node_names([board("2.3"), board("1.1", 2), board("3.0", 3)]) == [
        ["p1", "p2", "p3", "p4"],
        ["p5", "p6"],
        ["p7", "p8", "p9"],
    ]


# Which one is fitted -------------------------------------------------------------------------------------


def describe(folder: Path, **properties: bytes) -> str:
    """A device tree's folder of a HAT. As in the kernel's, texts end with a NUL."""
    for name, content in properties.items():
        (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hat_that_describes_itself(tmp_path: Path, version: str) -> None:
    major, minor = map(int, version.split("."))
    tree = describe(
        tmp_path, product=b"ZC4:ClusterHAT\0", product_ver=f"0x{major << 4 | minor:04x}\0".encode()
    )
    assert detect(tree) == version
    assert board(detect(tree)).version == version


@pytest.mark.parametrize(
    "number", [b"", b"\0", b"0x0f\0", b"0x40\0", b"abc\0xyz", b"zz\0", b"-0x23\0", b"\xff\xfe"]
)
def test_a_version_that_nobody_knows(tmp_path: Path, number: bytes) -> None:
    tree = describe(tmp_path, product=b"ZC4:ClusterHAT\0", product_ver=number)
    with pytest.raises(BoardNotFoundError, match=r"product_ver is .*, which is no known version: say which"):
        detect(tree)


def test_another_hat(tmp_path: Path) -> None:
    tree = describe(tmp_path, product=b"Sense HAT\0", product_ver=b"0x0001\0")
    with pytest.raises(
        BoardNotFoundError, match="is 'Sense HAT', not a Cluster HAT: say which one is fitted"
    ):
        detect(tree)


@pytest.mark.parametrize("missing", ["folder", "product", "product_ver"])
def test_no_description(tmp_path: Path, missing: str) -> None:
    if missing == "folder":
        tree = str(tmp_path / "hat")
    elif missing == "product":
        tree = describe(tmp_path, product_ver=b"0x0023\0")
    else:
        tree = describe(tmp_path, product=b"ZC4:ClusterHAT\0")
    with pytest.raises(LookupError) as caught:
        detect(tree)
    text = str(caught.value)
    assert tree in text
    assert "board='2.3'" in text
    assert "\n" not in text
