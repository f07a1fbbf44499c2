"""Typed, immutable rows of values."""

from __future__ import annotations

from typing import Any, ClassVar, Self, dataclass_transform

__all__ = ["Frozen"]

_set = object.__setattr__


@dataclass_transform(frozen_default=True)
class _FrozenType(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _FrozenType:
        fields = tuple(namespace.get("__annotations__", ())) if bases else ()
        namespace["_defaults"] = {field: namespace.pop(field) for field in fields if field in namespace}
        namespace["__slots__"] = namespace["__match_args__"] = fields
        return super().__new__(mcs, name, bases, namespace)


class Frozen(metaclass=_FrozenType):
    """The base of a class that only names its fields, with their types and defaults, as for a NamedTuple.

    Defining one costs a tenth of what a NamedTuple's generated code or a dataclass does, which a controller
    pays at each start of the command, and records of different types are never equal. Not to be subclassed
    twice. May be shared between threads.
    """

    _defaults: ClassVar[dict[str, Any]]
    __match_args__: ClassVar[tuple[str, ...]]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__match_args__
        if not named and len(values) == len(fields):  # the usual way, and the quick one
            for field, value in zip(fields, values, strict=True):
                _set(self, field, value)
            return
        given = {**self._defaults, **dict(zip(fields, values, strict=False)), **named}
        if len(values) > len(fields) or given.keys() != set(fields) or named.keys() & fields[: len(values)]:
            raise TypeError(f"{type(self).__name__} takes each of {', '.join(fields) or 'nothing'} once")
        for field in fields:
            _set(self, field, given[field])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed: make another with replaced()")

    def __delattr__(self, name: str) -> None:
        setattr(self, name, None)

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, field) for field in self.__match_args__])

    def replaced(self, **changes: Any) -> Self:
        """Another one with these fields instead."""
        return type(self)(**{**dict(zip(self.__match_args__, self._values(), strict=True)), **changes})

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        values = zip(self.__match_args__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in values)})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._values()
