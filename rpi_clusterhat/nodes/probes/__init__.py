"""Probes that ask a node once whether it is up, and a wait that asks until it is.

A probe is a generator of the steps of `rpi_clusterhat.waiting`, which performs them with blocking calls or in
an event loop. Both ways lead to the same verdict.
"""

from __future__ import annotations

from .command import CommandProbe
from .http import HttpProbe
from .probe import Probe, Verdict
from .tcp import TcpProbe
from .until_up import await_until_up, steps_until_up, wait_until_up
from .usb import UsbProbe

__all__ = [
    "CommandProbe",
    "HttpProbe",
    "Probe",
    "TcpProbe",
    "UsbProbe",
    "Verdict",
    "await_until_up",
    "steps_until_up",
    "wait_until_up",
]
