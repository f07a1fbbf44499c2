"""Archives that the kernel unpacks as its first file system. It takes several, one after the other."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["device", "pack"]


def pack(tree: str) -> bytes:
    """Packs a folder, links as links, all of it root's, in the format newc."""
    parts = [_entry(name, mode, data) for name, mode, data in _walk(tree)]
    return b"".join((*parts, _entry("TRAILER!!!", 0, b"")))


def device(name: str, major: int, minor: int) -> bytes:
    """Packs a character device, and the folder that it lies in."""
    folder = _entry(os.path.dirname(name), stat.S_IFDIR | 0o755, b"")
    node = _entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))
    return folder + node + _entry("TRAILER!!!", 0, b"")


def _walk(tree: str) -> Iterator[tuple[str, int, bytes]]:
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            data = b""
            if stat.S_ISLNK(mode):
                data = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    data = file.read()
            yield os.path.relpath(path, tree), mode, data


_numbers = iter(range(1, 1 << 31))


def _entry(name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (next(_numbers), mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
