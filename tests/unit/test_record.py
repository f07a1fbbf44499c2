"""Records: what a NamedTuple gives, without being a tuple."""

from __future__ import annotations

import pickle

import pytest

from rpi_clusterhat.record import Record


class Point(Record):
    x: int
    y: int = 2

    @property
    def total(self) -> int:
        return self.x + self.y


class Other(Record):
    x: int
    y: int = 2


class Nothing(Record):
    pass


def test_values_by_place_by_name_and_by_default() -> None:
    assert Point(1) == Point(1, 2) == Point(y=2, x=1)
    assert (Point(1).x, Point(1).y, Point(3, 4).total) == (1, 2, 7)
    assert Nothing() == Nothing()


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})], ids=str
)
def test_each_field_is_given_once(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="x, y"):
        Point(*values, **named)


def test_records_of_different_types_are_never_equal() -> None:
    assert Point(1) != Other(1)
    assert Point(1) != (1, 2)
    assert len({Point(1), Point(1), Other(1)}) == 2


def test_a_record_cannot_be_changed_but_replaced() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="replaced"):
        setattr(point, "x", 5)  # noqa: B010
    with pytest.raises(AttributeError):
        delattr(point, "y")
    assert point.replaced(y=7) == Point(1, 7)
    assert not hasattr(point, "__dict__")


def test_it_shows_itself_matches_and_travels() -> None:
    assert repr(Point(1)) == "Point(x=1, y=2)"
    assert pickle.loads(pickle.dumps(Point(1, 3))) == Point(1, 3)
    match Point(4, 5):
        case Point(x, y):
            assert (x, y) == (4, 5)
