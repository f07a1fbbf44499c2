"""Lists of nodes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpi_clusterhat._names import parse_nodes
from rpi_clusterhat.errors import NodeNameError

FOUR = ["p1", "p2", "p3", "p4"]


def names(count: int) -> list[str]:
    return [f"p{i}" for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["all"], FOUR),
        (["p1"], ["p1"]),
        (["p3", "p1"], ["p3", "p1"]),
        (["p3 p1"], ["p3", "p1"]),
        (["p3,p1"], ["p3", "p1"]),
        ([" p3 ,, p1\n"], ["p3", "p1"]),
        (["p[2-4]"], ["p2", "p3", "p4"]),
        (["p[1-2,4]"], ["p1", "p2", "p4"]),
        (["p[ 1 - 2 , 4 ]"], ["p1", "p2", "p4"]),
        (["p[2]"], ["p2"]),
        (["p[1,3],p2"], ["p1", "p3", "p2"]),
        (["p4", "p[3-4]", "p4,p3"], ["p4", "p3"]),
        (["p2", "all"], ["p2", "p1", "p3", "p4"]),
    ],
)
def test_what_is_meant(texts: list[str], expected: list[str]) -> None:
    assert parse_nodes(texts, FOUR) == expected


def test_no_list_at_all_is_not_all_nodes() -> None:
    with pytest.raises(NodeNameError, match='or say "all"'):
        parse_nodes([], FOUR)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", " , "),  # an empty variable of a shell: surely not meant to be all nodes
        *("p0", "p5", "p01", "p", "P1", "1", "p-1", "p+1", "p1x", "x1", "p1;p2", "ALL", "none"),
        *(
            "p[]",
            "p[",
            "p]",
            "p[1",
            "p1]",
            "p[1-]",
            "p[-2]",
            "p[1-2-3]",
            "p[1,]",
            "p[[1]]",
            "p[1 2]",
            "p[0-2]",
        ),
        *("p[1-5]", "p[a]", "p1-3", "p²", "p\N{ARABIC-INDIC DIGIT ONE}", "p[²]", "p1000000000000000000000"),
    ],
)
def test_what_cannot_be_meant(text: str) -> None:
    for texts in ([text], ["p1", text], [text, "p1"]):
        with pytest.raises(NodeNameError) as caught:
            parse_nodes(texts, FOUR)
        assert "\n" not in str(caught.value)
    assert "p1 to p4" in str(caught.value)


def test_a_range_that_runs_backwards_says_how_to_write_it() -> None:
    with pytest.raises(NodeNameError, match=r"'p\[3-1\]': the range 3-1 runs backwards: write 1-3"):
        parse_nodes(["p[3-1]"], FOUR)


def test_the_error_is_a_lookup_error_that_reads_as_a_sentence() -> None:
    with pytest.raises(LookupError) as caught:
        parse_nodes(["p9"], ["p1"])
    assert str(caught.value).startswith("'p9' names no node of this cluster: it has p1 (")


@given(st.data())
def test_what_was_written_is_read_again_in_order_and_once(data: st.DataObject) -> None:
    known = names(data.draw(st.integers(1, 252)))
    wanted = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    written: list[str] = []
    rest = list(wanted)
    while rest:
        take = data.draw(st.integers(1, len(rest)))
        group, rest = rest[:take], rest[take:]
        if data.draw(st.booleans()):
            written.append(f"p[{','.join(name[1:] for name in group)}]")
        else:
            written.append(data.draw(st.sampled_from([",", " ", " , ", "\t"])).join(group))
    if data.draw(st.booleans()):
        written = [",".join(written)]
    assert parse_nodes(written, known) == wanted


@given(st.lists(st.text("pal[]-, 0123456789²x\n"), max_size=4), st.integers(0, 12))
@example(["]p1,p2"], 4)
@example([], 0)
def test_nothing_but_a_name_error_and_nothing_but_known_nodes(texts: list[str], count: int) -> None:
    known = names(count)
    try:
        found = parse_nodes(texts, known)
    except NodeNameError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        return
    assert set(found) <= set(known)
    assert len(set(found)) == len(found)
    assert found or not known
