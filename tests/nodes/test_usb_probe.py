"""Probes that look for a node among USB devices, in a folder that stands for the kernel's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.nodes.probes import (
    Probe,
    UsbProbe,
    Verdict,
)
from rpi_clusterhat.waiting import Call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """As the kernel shows them: a hub of the vendor's, a board of its, two nodes, a disk, an interface."""
    for device, vendor, product, serial in [
        ("1-1", "3171", "0040", "3"),
        ("1-1.1", "3171", "0014", "4"),
        ("1-1.2", "3171", "0020", "1"),
        ("1-1.3", "3171", "0025", "2"),
        ("1-1.4", "0bda", "9210", "7"),
        ("1-1.5", "3171", "0020", None),
    ]:
        folder = tmp_path / device
        folder.mkdir()
        (folder / "idVendor").write_text(f"{vendor}\n")
        (folder / "idProduct").write_text(f"{product}\n")
        if serial is not None:
            (folder / "serial").write_text(f"{serial}\n")
    (tmp_path / "1-1:1.0").mkdir()
    return tmp_path


def both(probe: Probe) -> Verdict:
    verdict = probe.ask()
    assert asyncio.run(probe.aask()) == verdict
    return verdict


def test_a_node_on_usb(devices: Path) -> None:
    assert both(UsbProbe("1", root=str(devices))) == Verdict(True, "USB device 1-1.2 has the serial number 1")
    assert both(UsbProbe(2, root=str(devices))) == Verdict(True, "USB device 1-1.3 has the serial number 2")


def test_the_vendors_boards_and_hubs_are_no_nodes(devices: Path) -> None:
    for serial in ("3", "4"):
        assert both(UsbProbe(serial, root=str(devices))) == Verdict(
            False, f"no USB device of vendor 3171 has the serial number {serial}"
        )
        assert both(UsbProbe(serial, vendor=None, root=str(devices)))


def test_other_vendors(devices: Path) -> None:
    root = str(devices)
    assert not both(UsbProbe("7", root=root))
    assert both(UsbProbe("7", vendor="0BDA", root=root))
    assert both(UsbProbe("7", vendor=None, root=root))
    assert both(UsbProbe("9", vendor=None, root=root)) == Verdict(
        False, "no USB device has the serial number 9"
    )


def test_a_node_that_leaves(devices: Path) -> None:
    probe = UsbProbe("1", root=str(devices))
    assert both(probe)
    (devices / "1-1.2" / "serial").unlink()
    assert not both(probe)


def test_no_usb_at_all(tmp_path: Path) -> None:
    root = str(tmp_path / "none")
    assert both(UsbProbe("1", root=root)) == Verdict(False, f"no such file or directory: {root}")


def test_looking_at_usb_is_one_step_that_may_block(devices: Path) -> None:
    assert isinstance(next(UsbProbe("1", root=str(devices)).steps(lambda: 1.0)), Call)
