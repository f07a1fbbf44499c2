"""Who is held and who is answered, and with what."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterhat_proxy.cold import Mode, Waiting, decide, problem, retry_after, waiting_problem

if TYPE_CHECKING:
    from clusterhat_proxy.cold import Answer

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROMIUM = (
    b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    b"application/signed-exchange;v=b3;q=0.7"
)
OLD_SAFARI = b"application/xml,application/xhtml+xml,text/html;q=0.9,text/plain;q=0.8,image/png,*/*;q=0.5"
IMAGE = b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
JQUERY = b"application/json, text/javascript, */*; q=0.01"
PROBLEM = b"application/problem+json, application/json"

modes: tuple[Mode, ...] = get_args(Mode)


@pytest.mark.parametrize(
    ("accept", "page", "auto"),
    [
        (FIREFOX, "html", "html"),
        (CHROMIUM, "html", "html"),
        (OLD_SAFARI, "html", "html"),
        (b"text/html", "html", "html"),
        (b"TEXT/HTML ; Q=0.4", "html", "html"),
        (b"text/html;charset=utf-8", "html", "html"),
        (b'text/html;charset="UTF-8";q=0.2, application/json;q=0.1', "html", "html"),
        (b"text/html, */*", "html", "html"),
        (b"text/*", "html", "hold"),
        (IMAGE, "problem", "hold"),
        (JQUERY, "problem", "hold"),
        (PROBLEM, "problem", "problem"),
        (b"application/problem+json;q=0.1", "problem", "problem"),
        (b"application/problem+json, text/html;q=0.9", "problem", "problem"),
        (b"application/problem+json;q=0.8, text/html", "html", "html"),
        (b"application/problem+json;q=0", "problem", "hold"),
        (b"application/json", "problem", "hold"),
        (b"application/json, text/html;q=0.5", "problem", "hold"),
        (b"application/json, text/html", "problem", "hold"),
        (b"application/json;q=0, text/html;q=0.1", "html", "html"),
        (b"text/html;q=0, */*", "problem", "hold"),
        (b"text/html;q=0, text/*", "problem", "hold"),
        (b"text/html;level=1", "problem", "hold"),
        (b'application/x;a=",text/html,", image/png', "problem", "hold"),
        (b'application/x;a="\\",text/html', "problem", "hold"),
        (b"text/html;q=2", "problem", "hold"),
        (b"text/html;q=0.5555", "problem", "hold"),
        (b"text/html;q=, */*", "problem", "hold"),
        (b"text/html;q=nan", "problem", "hold"),
        (b"*/html", "problem", "hold"),
        (b"texthtml", "problem", "hold"),
        (b"*/*", "problem", "hold"),
        (b",, ,", "problem", "hold"),
        (b";text/html", "problem", "hold"),
        (b"", "problem", "hold"),
        (None, "problem", "hold"),
    ],
)
def test_what_a_get_gets(accept: bytes | None, page: Answer, auto: Answer) -> None:
    assert decide("hold", b"GET", accept) == "hold"
    assert decide("page", b"GET", accept) == page
    assert decide("auto", b"GET", accept) == decide("auto", b"HEAD", accept) == auto


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"QUERY", b"get"])
@pytest.mark.parametrize("accept", [FIREFOX, PROBLEM])
def test_auto_holds_what_may_have_a_body(method: bytes, accept: bytes) -> None:
    assert decide("auto", method, accept) == "hold"
    assert decide("page", method, accept) == decide("page", b"GET", accept)


pieces = st.sampled_from([b"text/html", b"*/*", b";", b",", b'"', b"\\", b"q=", b"0.5", b" ", b"/", b"\xff"])
garbage = st.one_of(st.none(), st.binary(), st.lists(pieces).map(b"".join))


@given(st.sampled_from(modes), st.binary(), garbage)
@example("page", b"GET", b'"')
@example("page", b"GET", b'text/html;a="\\')
@example("auto", b"GET", b"text/html;q=\xb2")
def test_anything_can_be_decided(mode: Mode, method: bytes, accept: bytes | None) -> None:
    answer = decide(mode, method, accept)
    assert (answer == "hold") >= (mode == "hold")
    assert (answer != "hold") >= (mode == "page")


def test_a_long_field_is_read_in_linear_time() -> None:
    for piece in (b'"', b'"\\', b",", b";", b'";', b"a/b;", b"*"):
        assert decide("page", b"GET", piece * 100_000 + b",text/html") in ("html", "problem")


# Against the standard's text, done the long way -------------------------------------------------------

ranges = st.tuples(
    st.sampled_from(
        ["*/*", "text/*", "text/html", "application/*", "application/json", "application/problem+json", "a/b"]
    ),
    st.integers(0, 1000),
)
blanks = st.sampled_from(["", " ", "\t", "  "])


def thousandths(said: dict[str, int], wanted: str) -> tuple[int, int]:
    main = wanted.partition("/")[0]
    for precision, name in enumerate((wanted, f"{main}/*", "*/*")):
        if name in said:
            return said[name], 2 - precision
    return 0, 0


@given(st.lists(ranges, unique_by=lambda pair: pair[0]), st.data())
def test_weights_and_precision_decide_and_order_and_spaces_do_not(
    said: list[tuple[str, int]], data: st.DataObject
) -> None:
    def written(name: str, weight: int) -> str:
        gap, case = data.draw(blanks), data.draw(st.sampled_from([str.lower, str.upper]))
        return f"{gap}{case(name)}{gap};{gap}q={weight / 1000:.3f}{gap}"

    accept = ",".join(written(*pair) for pair in data.draw(st.permutations(said))).encode()
    html = thousandths(dict(said), "text/html")
    named = thousandths(dict(said), "application/problem+json")
    preferred = html[0] > 0 and html[1] > 0 and html > max(named, thousandths(dict(said), "application/json"))

    assert decide("page", b"GET", accept) == ("html" if preferred else "problem")
    if preferred and html[1] == 2:
        assert decide("auto", b"GET", accept) == "html"
    else:
        by_name = dict(said).get("application/problem+json", 0) > 0
        assert decide("auto", b"GET", accept) == ("problem" if by_name else "hold")


# Bodies ----------------------------------------------------------------------------------------------


@given(st.floats())
@example(0.0)
@example(1.0)
@example(1.000001)
@example(math.inf)
@example(math.nan)
def test_retry_after_is_a_sane_whole_number(seconds: float) -> None:
    whole = retry_after(seconds)
    assert isinstance(whole, int)
    assert 1 <= whole <= 3600
    if 0 < seconds <= 3600:
        assert whole - 1 < seconds <= whole


def test_a_problem_has_the_standards_members() -> None:
    assert json.loads(problem(502, "Bad Gateway", "p1 “broke” off", node="p1")) == {
        "type": "about:blank",
        "status": 502,
        "title": "Bad Gateway",
        "detail": "p1 “broke” off",
        "node": "p1",
    }
    assert json.loads(problem(504, "Gateway Timeout", "", 7))["retry_after"] == 7


def test_a_waiting_client_is_told_all_there_is() -> None:
    view = Waiting("p2", "on", 4.06, 20.0, 3, {"p1": "off", "p2": "on"}, 16)
    said = json.loads(waiting_problem(view))
    assert {
        name: said[name] for name in ("node", "state", "elapsed", "expected", "queue", "retry_after")
    } == {
        "node": "p2",
        "state": "on",
        "elapsed": 4.1,
        "expected": 20.0,
        "queue": 3,
        "retry_after": 16,
    }
    assert said["status"] == 503
    full = json.loads(waiting_problem(Waiting("", "full", 0, 0, 10_000, {}, 5)))
    assert (full["node"], full["state"], full["queue"]) == (None, "full", 10_000)


def test_what_is_left_of_a_boot_is_never_negative() -> None:
    assert Waiting("p1", "on", 4.0, 20.0, 1, {}, 16).remaining == 16.0
    assert Waiting("p1", "on", 25.0, 20.0, 1, {}, 1).remaining == 0.0
