"""Tells from a node's disk whether its file system was left cleanly.

A node writes to a copy-on-write file beside the image that all share. Its format is that of User-Mode Linux,
version 3; source: arch/um/drivers/cow_user.c of the kernel. All numbers in its header are big-endian:

    magic "OOOM", version, time of the image (4 bytes each), size (8), sector size, alignment, format (4
    each), path of the image (4096); bitmap of the sectors that are in this file; the sectors. The bitmap and
    the sectors each begin at a multiple of the alignment.

A file that does not begin so is taken for a plain image.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["is_clean", "read"]

_HEADER = struct.Struct(">4sIIQIII4096s")
_MAGIC = b"OOOM"
_VERSION = 3
_MAX_SECTOR = 1 << 16

# Source: fs/ext4/ext4.h of the kernel, struct ext4_super_block.
_SUPERBLOCK = 1024
_SIZE = 1024
_EXT_MAGIC = (0x38, 0xEF53)
_INCOMPAT = 0x60
_NEEDS_RECOVERY = 0x4


def is_clean(disk: str) -> bool:
    """Says whether the file system was left cleanly: its journal has nothing that was to be written yet.

    It is not while it is mounted for writing, nor after the power was cut then. Without a disk yet, it is.

    Args:
        disk: A node's copy-on-write file, or an image.

    Raises:
        BackendError: It cannot be read, or holds no ext file system.
    """
    if not os.path.exists(disk):
        return True
    block = read(disk, _SUPERBLOCK, _SIZE)
    if struct.unpack_from("<H", block, _EXT_MAGIC[0])[0] != _EXT_MAGIC[1]:
        raise BackendError(f"the disk {disk} holds no ext4 file system: remove it to begin with a new one")
    features: int = struct.unpack_from("<I", block, _INCOMPAT)[0]
    return not features & _NEEDS_RECOVERY


def read(disk: str, offset: int, length: int) -> bytes:
    """Returns bytes of a node's disk as the node sees them. Raises `BackendError`."""
    try:
        with open(disk, "rb") as file:
            header = file.read(_HEADER.size)
            if header[:4] != _MAGIC:
                return _exactly(file, offset, length)
            return _read_over(file, header, offset, length)
    except (OSError, EOFError, struct.error) as error:
        raise BackendError(f"the disk {disk} cannot be read: {error}") from error


def _read_over(file: BinaryIO, header: bytes, offset: int, length: int) -> bytes:
    _, version, _, size, sector, alignment, form, backing = _HEADER.unpack(header)
    if version != _VERSION or form != 0 or not 0 < sector <= _MAX_SECTOR or alignment <= 0:
        raise EOFError(f"a copy-on-write file of version {version}, format {form} is not known")
    sectors = -(-size // sector)
    bitmap = _aligned(_HEADER.size, alignment)
    data = _aligned(bitmap + -(-sectors // 8), alignment)
    first, last = offset // sector, (offset + length - 1) // sector
    if last >= sectors:
        raise EOFError(f"it ends at byte {size}")
    found: list[bytes] = []
    with open(os.fsdecode(backing.partition(b"\0")[0]), "rb") as image:
        for number in range(first, last + 1):
            bits = _exactly(file, bitmap + number // 8, 1)[0]
            own = bits >> number % 8 & 1
            found.append(_exactly(file if own else image, (data if own else 0) + number * sector, sector))
    start = offset - first * sector
    return b"".join(found)[start : start + length]


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _exactly(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    content = file.read(length)
    if len(content) < length:
        raise EOFError(f"it ends before byte {offset + length}")
    return content
