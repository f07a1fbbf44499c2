"""Lists of nodes as people write them: ``p1``, ``p1 p3``, ``p1,p3``, ``p[1-3,7]``, ``all``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import NodeNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["parse_nodes"]


def parse_nodes(texts: Iterable[str], known: Sequence[str]) -> list[str]:
    """The nodes that the texts name, in their order, each once.

    ``known`` are the names there are, ``p1`` to ``pN``. Raises `NodeNameError`, also where there is no text:
    an empty list must not stand for all nodes.
    """
    texts = list(texts)
    if not texts:
        raise NodeNameError('no node is named: name nodes, such as p1 or p1,p3, or say "all"')
    found: dict[str, None] = {}
    for text in texts:
        items = list(_items(text))
        if not items:  # such as an empty variable of a shell: surely not meant to be all of them
            raise _wrong(text, known)
        for item in items:
            found.update(dict.fromkeys(_names(item, known)))
    return list(found)


def _wrong(text: str, known: Sequence[str]) -> NodeNameError:
    has = f"{known[0]} to {known[-1]}" if len(known) > 1 else " ".join(known)
    return NodeNameError(
        f"{text!r} names no node of this cluster: it has {has} (also p1,p3 or p[1-3,7] or all)"
    )


def _items(text: str) -> Iterator[str]:
    """Parts between commas and white space, but not those within brackets."""
    item = ""
    depth = 0
    for c in text:
        if depth == 0 and (c == "," or c.isspace()):
            if item:
                yield item
            item = ""
            continue
        depth += (c == "[") - (c == "]")
        item += c
    if item:
        yield item


def _names(item: str, known: Sequence[str]) -> Iterator[str]:
    if item == "all":
        yield from known
    elif item.startswith("p[") and item.endswith("]"):
        for part in item[2:-1].split(","):
            first, dash, last = (x.strip() for x in part.partition("-"))
            low = _number(first, item, known)
            high = _number(last, item, known) if dash else low
            if low > high:
                raise NodeNameError(f"{item!r}: the range {part.strip()} runs backwards: write {high}-{low}")
            for number in range(low, high + 1):
                yield f"p{number}"
    else:
        yield f"p{_number(item[1:] if item[0] == 'p' else '', item, known)}"


def _number(text: str, item: str, known: Sequence[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9 and text[0] != "0" and int(text) <= len(known):
        return int(text)
    raise _wrong(item, known)
