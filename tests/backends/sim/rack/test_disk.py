"""A node's disk, read through its copy-on-write file."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import BackendError
from rpi_clusterhat_sim.rack.disk import is_clean, read

SECTOR = 512
SMALL = 8
"""A sector, where it does not matter how long it is."""


def over(
    image: Path, written: dict[int, bytes], alignment: int = 4096, *, version: int = 3, sector: int = SECTOR
) -> Path:
    """A copy-on-write file as User-Mode Linux makes it, with these sectors written."""
    size = image.stat().st_size
    header = struct.pack(
        ">4sIIQIII4096s", b"OOOM", version, 0, size, sector, alignment, 0, bytes(image) + b"\0rest"
    )
    sectors = -(-size // sector)
    bitmap = bytearray(-(-sectors // 8))
    for number in written:
        bitmap[number // 8] |= 1 << number % 8
    header = header.ljust(-(-len(header) // alignment) * alignment, b"\0")
    start = -(-(len(header) + len(bitmap)) // alignment) * alignment
    cow = image.with_suffix(".cow")
    with cow.open("wb") as file:
        file.write(header + bitmap)
        for number, content in written.items():
            file.seek(start + number * sector)
            file.write(content)
    return cow


@given(
    image=st.integers(1, 40).flatmap(lambda n: st.binary(min_size=n * SMALL, max_size=n * SMALL)),
    data=st.data(),
)
def test_what_was_written_lies_over_the_image(image: bytes, data: st.DataObject) -> None:
    sectors = len(image) // SMALL
    written = data.draw(
        st.dictionaries(st.integers(0, sectors - 1), st.binary(min_size=SMALL, max_size=SMALL))
    )
    alignment = data.draw(st.sampled_from([SMALL, 4096]))
    offset = data.draw(st.integers(0, len(image) - 1))
    length = data.draw(st.integers(1, len(image) - offset))
    expected = bytearray(image)
    for number, content in written.items():
        expected[number * SMALL : (number + 1) * SMALL] = content
    with TemporaryDirectory() as folder:
        path = Path(folder, "node.img")
        path.write_bytes(image)
        cow = over(path, written, alignment, sector=SMALL)
        assert read(str(cow), offset, length) == expected[offset : offset + length]
        assert read(str(path), offset, length) == image[offset : offset + length]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ext4 file system of this machine's own tools."""
    path = tmp_path / "node.img"
    try:
        subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", str(path), "8M"], check=True)
    except FileNotFoundError:
        pytest.skip("there is no mke2fs here")
    return path


def superblock(image: Path, *, needs_recovery: bool) -> bytes:
    """The first superblock, as the kernel marks it when it mounts it for writing."""
    block = bytearray(image.read_bytes()[1024:2048])
    (features,) = struct.unpack_from("<I", block, 0x60)
    struct.pack_into("<I", block, 0x60, features | 4 if needs_recovery else features & ~4)
    return bytes(block)


def test_a_mounted_or_cut_disk_is_not_clean(image: Path) -> None:
    assert is_clean(str(image))
    assert is_clean(str(over(image, {})))
    block = superblock(image, needs_recovery=True)
    cut = over(image, {2: block[:SECTOR], 3: block[SECTOR:]})
    assert not is_clean(str(cut))
    assert is_clean(str(image)), "the image is another's too"


def test_other_tools_say_the_same(image: Path) -> None:
    content = bytearray(image.read_bytes())
    content[1024:2048] = superblock(image, needs_recovery=True)
    image.write_bytes(content)
    shown = subprocess.run(
        ["/usr/sbin/dumpe2fs", "-h", str(image)], capture_output=True, text=True, check=False
    )
    assert "needs_recovery" in shown.stdout
    assert not is_clean(str(image))


def test_a_disk_that_was_never_used_is_clean(tmp_path: Path) -> None:
    assert is_clean(str(tmp_path / "p1.cow"))


def test_what_is_no_disk_is_told(image: Path, tmp_path: Path) -> None:
    short, empty, other = tmp_path / "short", tmp_path / "empty", tmp_path / "other"
    short.write_bytes(b"OOOM")
    empty.write_bytes(b"")
    other.write_bytes(bytes(4096))
    for path in (short, empty, tmp_path, over(image, {}, version=2)):
        with pytest.raises(BackendError, match="cannot be read"):
            is_clean(str(path))
    with pytest.raises(BackendError, match="no ext4 file system"):
        is_clean(str(other))
    cow = over(image, {})
    with pytest.raises(BackendError, match="it ends at byte"):
        read(str(cow), 8 << 20, 1)
    image.unlink()
    with pytest.raises(BackendError, match="cannot be read"):
        is_clean(str(cow))
