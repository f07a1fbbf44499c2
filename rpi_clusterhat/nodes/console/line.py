"""The line to a node's serial console, opened so that no other program reads it beside us."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.errors import ConsoleBusyError, ConsoleError, ConsoleMissingError

from .holders import Holder, all_named, holders, is_pseudo, suspects
from .packets import CHUNK

if TYPE_CHECKING:
    from typing import Any

__all__ = ["ConsoleLine", "DeviceLine", "open_line"]

_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV)
"""What the kernel says of a device that was unplugged, or whose other end was closed."""

_GROUP = "dialout"
"""Whom udev gives serial devices."""

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)


class ConsoleLine(Protocol):
    """A node's console, open. Nothing here blocks. It is used by one thread at a time.

    Several programs may have one console open. All of them see what the node writes; what they write is sent
    in turns. A program that starts to write takes the turn when it is free, keeps it until `end_turn`, and
    what others write meanwhile waits for it.
    """

    @property
    def fd(self) -> int:
        """What to wait for, readable or writable. Ask again for each wait: it may be another one then."""
        ...

    @property
    def skipped(self) -> int:
        """How many bytes of what the node wrote were left out so far, since this program was too slow."""
        ...

    @property
    def has_turn(self) -> bool:
        """Whether what is written now is sent at once. Brought up to date by `read`."""
        ...

    def read(self) -> bytes | None:
        """Returns what the node wrote, None where there is nothing now, ``b""`` when the line has ended.

        It ends when the device is gone, as with the node's power.
        """
        ...

    def write(self, data: bytes) -> int:
        """Sends bytes to the node, and returns how many were taken.

        Raises:
            ConsoleError: The line has ended.
        """
        ...

    def ask_turn(self) -> None:
        """Asks for the turn. `read` until `has_turn` says that it has come."""
        ...

    def end_turn(self) -> None:
        """Lets others write, once what was written so far is sent."""
        ...

    def close(self) -> None:
        """Gives the line back. It may be called again."""
        ...


def open_line(path: str) -> ConsoleLine:
    """Opens a node's console.

    Args:
        path: The serial device, such as ``/dev/ttypi1``, or a pseudo-terminal.

    Raises:
        ConsoleBusyError: Another program has it open. The text names it, where this user may know.
        ConsoleMissingError: There is no such device.
        ConsoleError: This user may not open it, or it is no terminal.
    """
    from .shared_line import SharedLine

    return SharedLine(path)


class DeviceLine:
    """A serial device or pseudo-terminal that this process alone has open. See `ConsoleLine`.

    The terminal's settings become raw and are restored at the end, but for two: without ``HUPCL`` the node
    sees no modem line move when a program leaves, and without ``ECHO`` nothing that it writes comes back to
    it, which would be typed at its login prompt.

    Args:
        path: The device.

    Raises:
        ConsoleBusyError: Another program has it open. The text names it, where this user may know.
        ConsoleMissingError: There is no such device.
        ConsoleError: This user may not open it, or it is no terminal.
    """

    skipped = 0
    has_turn = True

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.fd = _opened(path)
        try:
            self._pseudo = _check_alone(path, self.fd)
            self._former = _make_raw(path, self.fd)
            if not self._pseudo:  # one that was killed would leave it behind on a pseudo-terminal
                fcntl.ioctl(self.fd, termios.TIOCEXCL)
        except BaseException:
            os.close(self.fd)
            raise
        after_fork(self, DeviceLine._leave_to_the_parent)

    def __repr__(self) -> str:
        return f"<DeviceLine {self.path}{'' if self.fd >= 0 else ', closed'}>"

    def read(self) -> bytes | None:
        """See `ConsoleLine.read`."""
        if self.fd < 0:
            return b""
        try:
            return os.read(self.fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _GONE:
                return b""
            raise ConsoleError(f"the console {self.path} cannot be read: {error.strerror}") from error

    def write(self, data: bytes) -> int:
        """See `ConsoleLine.write`."""
        if self.fd < 0:
            raise ConsoleError(f"the console {self.path} is closed")
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _GONE:
                raise ConsoleMissingError(f"the console {self.path} went away") from error
            raise ConsoleError(f"the console {self.path} cannot be written: {error.strerror}") from error

    def ask_turn(self) -> None:
        """Does nothing: there is nobody else."""

    def end_turn(self) -> None:
        """Does nothing: there is nobody else."""

    def close(self, *, restore: bool = True) -> None:
        """Closes the terminal. It may be called again.

        Args:
            restore: Whether the settings are restored first; False where another program goes on at once.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        try:
            if not self._pseudo:
                fcntl.ioctl(fd, termios.TIOCNXCL)
            if restore:
                termios.tcsetattr(fd, termios.TCSANOW, self._former)
        except (OSError, termios.error):
            pass  # it is gone
        finally:
            os.close(fd)

    def _leave_to_the_parent(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _opened(path: str) -> int:
    try:
        # Without O_NONBLOCK the kernel may wait for a carrier.
        return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConsoleMissingError(_missing(path)) from error
    except PermissionError as error:
        raise ConsoleError(_denied(path)) from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _busy(path, _found(path)) from error
        if error.errno in _GONE:
            raise ConsoleMissingError(_missing(path)) from error
        if error.errno == errno.EISDIR:
            raise ConsoleError(_no_terminal(path)) from error
        raise ConsoleError(f"the console {path} cannot be opened: {error.strerror}") from error


def _missing(path: str) -> str:
    from rpi_clusterhat.hardware.permission import container_remedy

    text = (
        f"there is no console {path}: the node has no power, it has not booted so far, "
        f"or its image offers no console on USB"
    )
    remedy = container_remedy(path)
    return f"{text}; {remedy}" if remedy else text


def _denied(path: str) -> str:
    from rpi_clusterhat.hardware.permission import permission_remedy

    what = f"no permission to open the console {path}"
    try:
        found = os.stat(path)
    except OSError:
        pass  # its folder keeps it out of reach
    else:
        if is_pseudo(found):
            return f"{what}: it is a pseudo-terminal, which only the user who made it may open"
        if found.st_gid == 0 or found.st_mode & 0o060 != 0o060:
            give = f"sudo chgrp {_GROUP} {path}; sudo chmod g+rw {path}"
            return f"{what}: give it to the group {_GROUP} ('{give}')"
    return f"{what}: {permission_remedy(path, _GROUP)}"


def _no_terminal(path: str) -> str:
    return f"{path} is not a terminal: name the serial device of the node's console, such as /dev/ttypi1"


def _check_alone(path: str, fd: int) -> bool:
    """Raises where it is no terminal, or another program has it open. Returns whether it is a pseudo one."""
    if not os.isatty(fd):
        raise ConsoleError(_no_terminal(path))
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path, _found(path)) from error
    except OSError:
        pass  # a system without such locks for devices
    found = os.fstat(fd)
    if others := holders(found):
        raise _busy(path, others)
    return is_pseudo(found)


def _found(path: str) -> list[Holder]:
    try:
        return holders(os.stat(path))
    except OSError:
        return []


def _busy(path: str, found: list[Holder]) -> ConsoleBusyError:
    sure = "" if found else "probably "
    if not found and not (found := suspects()):
        return ConsoleBusyError(
            f"another program has the console {path} open: see which with 'sudo fuser -v {path}', and end it"
        )
    text = f"the console {path} is open in another program, {sure}{all_named(found)}"
    if any(holder.is_modem_manager for holder in found):
        return ConsoleBusyError(
            f"{text}, which takes it for a modem: run 'sudo systemctl disable --now ModemManager', or set "
            f"ID_MM_DEVICE_IGNORE=1 for the device in a udev rule"
        )
    return ConsoleBusyError(f"{text}: end it first")


def _make_raw(path: str, fd: int) -> list[Any]:
    """Makes the terminal raw. Returns the settings to restore."""
    try:
        former = termios.tcgetattr(fd)
        raw: list[Any] = [*former[:_CC], list(former[_CC])]
        raw[_IFLAG] = 0
        raw[_OFLAG] &= ~termios.OPOST
        raw[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[_CFLAG] &= ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.CRTSCTS | termios.HUPCL)
        raw[_CFLAG] |= termios.CS8 | termios.CREAD | termios.CLOCAL
        raw[_ISPEED] = raw[_OSPEED] = termios.B115200  # that of Raspberry Pi images; USB has none
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0  # else no bytes would look like the end
        termios.tcsetattr(fd, termios.TCSANOW, raw)
    except termios.error as error:
        raise ConsoleError(f"the console {path} cannot be set up: {error.args[-1]}") from error
    former[_CFLAG] &= ~termios.HUPCL
    former[_LFLAG] &= ~(termios.ECHO | termios.ECHONL)
    return former
