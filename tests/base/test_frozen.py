"""Rows of values."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable


class Point(Frozen):
    """With a default, as options have."""

    x: int
    y: int = 0


class Other(Frozen):
    x: int
    y: int = 0


class Nothing(Frozen):
    pass


def test_fields_by_place_and_by_name() -> None:
    assert [(p.x, p.y) for p in (Point(1), Point(1, 2), Point(x=1, y=2), Point(1, y=2))] == [
        *((1, 0), (1, 2)),
        *((1, 2), (1, 2)),
    ]
    assert repr(Point(1)) == "Point(x=1, y=0)"
    assert repr(Nothing()) == "Nothing()"


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})]
)
def test_fields_that_do_not_fit(values: tuple[int, ...], named: dict[str, int]) -> None:
    make: Any = Point
    with pytest.raises(TypeError, match=r"^Point takes each of x, y once$"):
        make(*values, **named)


def test_records_of_different_types_are_never_equal() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) != Point(2, 1)
    assert Point(1, 2) != Other(1, 2)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1), Point(1), Other(1)}) == 2


def test_a_record_stays_as_it_is() -> None:
    point: Any = Point(1)
    changes: list[Callable[[], object]] = [
        lambda: setattr(point, "x", 2),
        lambda: setattr(point, "z", 2),
        lambda: delattr(point, "x"),
    ]
    for change in changes:
        with pytest.raises(AttributeError):
            change()
    assert point.replaced(y=5) == Point(1, 5)
    assert point == Point(1)
    with pytest.raises(TypeError):
        point.replaced(z=1)


def test_a_record_can_be_copied_matched_and_sent() -> None:
    point = Point(1, 2)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
