"""Boots an emulated Raspberry Pi 3B, runs commands on it, and looks at its pins from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

from . import cpio
from .building import ROOT, SITE, qemu

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

GUEST = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest")
ADDRESS = 0x20
OUTPUT_FUNCTION = 1
GPIO_FUNCTIONS, GPIO_LEVELS = 0x3F200000, 0x3F200034
"""Physical addresses of the pins' functions, ten in a word, and of the levels of the first 32."""
_BOOT = 180.0
"""Seconds, on a machine that does much else."""
# Messages of the kernel go to the first serial port, which has no driver; the second is the agent's.
_KERNEL = "earlycon=pl011,mmio32,0x3f201000 keep_bootcon console=tty0 quiet"


class PiError(Exception):
    """The emulated Pi did not come up or does not answer; the text has its last words."""


class Ran(NamedTuple):
    """What came of a command: its exit code, what it wrote, and the seconds that it took on the Pi."""

    code: int
    output: str
    errors: str
    seconds: float


class Pi:
    """A Raspberry Pi 3B that runs until this context manager ends. From one thread.

    On its bus 1 at 0x20 is an EEPROM, which keeps a byte for each register as an expander does. It has no
    pins.
    """

    def __init__(self, place: str, series: str, *parameters: str) -> None:
        self.series = series
        self._cleanup = contextlib.ExitStack()
        try:
            self._boot(place, parameters)
        except BaseException:
            self._cleanup.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def run(self, *command: str, seconds: float = 90.0) -> Ran:
        """Runs a command to its end, as root."""
        return Ran(**self._ask("run", command=command, seconds=seconds))

    def start(self, *command: str) -> Started:
        """Starts a command that goes on by itself."""
        return Started(self, self._ask("start", command=command)["pid"])

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Has the first process on the Pi do something. Raises `PiError`."""
        return self._ask(call, **arguments)

    def lines(self, *offsets: int) -> dict[int, bool | None]:
        """The levels that the header's chip drives lines to; None where a line is an input.

        The emulated chip keeps the last level of a line that has become an input, and has no pulls.
        """
        functions = self._words(GPIO_FUNCTIONS, 6)
        (levels,) = self._words(GPIO_LEVELS, 1)
        return {
            offset: bool(levels >> offset & 1)
            if functions[offset // 10] >> 3 * (offset % 10) & 7 == OUTPUT_FUNCTION
            else None
            for offset in offsets
        }

    def _boot(self, place: str, parameters: Sequence[str]) -> None:
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pi-"))
        self._console = os.path.join(folder, "console")
        kernel = f"{place}/kernels/{self.series}"
        with open(f"{folder}/initrd", "wb") as file:
            with open(f"{place}/system.cpio", "rb") as system:
                shutil.copyfileobj(system, file)
            file.write(_own_part(f"{folder}/own", f"{kernel}/modules"))
        agent, monitor = (self._listen(f"{folder}/{name}") for name in ("agent", "monitor"))
        arguments = [
            *(*qemu(place), "-machine", "raspi3b", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", f"{kernel}/kernel", "-dtb", f"{kernel}/board.dtb", "-initrd", f"{folder}/initrd"),
            *("-append", " ".join((_KERNEL, *parameters))),
            *("-serial", f"file:{self._console}", "-serial", f"unix:{folder}/agent"),
            *("-qmp", f"unix:{folder}/monitor"),
            # Of another size it would take the last bit of one address for the first of the next.
            *("-device", f"at24c-eeprom,bus=i2c-bus.1,address={ADDRESS},rom-size=256"),
        ]
        with open(f"{folder}/qemu", "wb") as said:
            machine = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        self._cleanup.callback(machine.wait)
        self._cleanup.callback(machine.kill)
        try:
            self._monitor = self._accept(monitor)
            self._agent = self._accept(agent)
            self._command("qmp_capabilities")
            self._agent.readline()  # that it is ready
        except OSError as error:
            with open(f"{folder}/qemu", errors="replace") as file:
                raise PiError(f"{error}\n{file.read()[-2000:]}{self._last_words()}") from None

    def _listen(self, path: str) -> socket.socket:
        listener = self._cleanup.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        return listener

    def _accept(self, listener: socket.socket) -> Any:
        connection, _ = listener.accept()
        self._cleanup.enter_context(connection)
        connection.settimeout(_BOOT)
        return self._cleanup.enter_context(connection.makefile("rwb", buffering=0))

    def _ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        try:
            self._agent.write(json.dumps({"call": call, **arguments}).encode() + b"\n")
            line = self._agent.readline()
        except OSError as error:
            raise PiError(f"{call}: {error}\n{self._last_words()}") from error
        if not line:
            raise PiError(f"{call}: the Pi has gone\n{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "raised" in answer:
            raise PiError(f"{call} {arguments}: {answer['raised']}\n{self._last_words()}")
        return answer

    def _words(self, address: int, count: int) -> list[int]:
        """Words of physical memory, by the monitor: ``3f200000: 0x00000000 0x00000000``."""
        said = self._command("human-monitor-command", **{"command-line": f"xp /{count}xw {address:#x}"})
        return [int(word, 16) for line in said.splitlines() for word in line.partition(":")[2].split()]

    def _command(self, command: str, **arguments: str) -> Any:
        self._monitor.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self._monitor.readline())
            if "error" in answer:
                raise PiError(f"{command}: {answer['error']}")
            if "return" in answer:  # neither the greeting nor an event
                return answer["return"]

    def _last_words(self) -> str:
        with contextlib.suppress(FileNotFoundError), open(self._console, errors="replace") as file:
            return file.read()[-4000:]
        return ""


class Started:
    """A command that goes on by itself on the Pi."""

    def __init__(self, pi: Pi, pid: int) -> None:
        self._pi = pi
        self._pid = pid

    def heard(self) -> tuple[str, int | None]:
        """What it has said so far, and its exit code if it has ended."""
        answer = self._pi.ask("heard", pid=self._pid)
        return answer["output"], answer["code"]

    def end(self, number: int) -> tuple[str, int]:
        """Sends it a signal and waits: all that it has said, and its exit code."""
        self._pi.ask("signal", pid=self._pid, number=number)
        answer = self._pi.ask("wait", pid=self._pid, seconds=60.0)
        return answer["output"], answer["code"]


def _own_part(tree: str, modules: str) -> bytes:
    """What is the checkout's: the library as its wheel holds it, and what runs on the Pi first."""
    site = f"{tree}/{SITE}"
    os.makedirs(site)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", f"{tree}-wheel"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = os.listdir(f"{tree}-wheel")
    zipfile.ZipFile(f"{tree}-wheel/{wheel}").extractall(site)
    shutil.copytree(modules, f"{tree}/modules")
    shutil.copytree(GUEST, f"{tree}/guest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(f"{GUEST}/init.py", f"{tree}/init")
    os.chmod(f"{tree}/init", 0o755)
    return cpio.pack(tree)
