"""Is the node up? Probes that ask once, and a wait that asks until the answer is yes.

Each probe is a generator of the steps of `rpi_clusterhat.waiting`, whose two functions perform them with
blocking calls or in an event loop: both come to the same verdict.
"""

from __future__ import annotations

import errno
import math
import os
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.waiting import Call, Pause, Readable, Sleep, Writable, drive, drive_async

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Callable, Iterable
    from typing import Any

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps

__all__ = [
    "CommandProbe",
    "HttpProbe",
    "Probe",
    "TcpProbe",
    "UsbProbe",
    "Verdict",
    "await_until_up",
    "wait_until_up",
]


class Verdict(Frozen):
    """What came of asking. ``reason``, one line, says who answered what, or what is wrong. True where up."""

    up: bool
    reason: str

    def __bool__(self) -> bool:
        return self.up


if TYPE_CHECKING:
    _Address = tuple[int, int, int, Any]  # family, type, protocol, and the address in the form of its family


# Probes ---------------------------------------------------------------------------------------------


class Probe:
    """A question whose answer says whether a node is up. A node that is down is no error.

    ``a & b`` is up where both are, ``a | b`` where one is; they are asked in this order, and the second only
    where it decides. May be asked from any thread and any event loop, by several at once.

    For one of your own override `steps`, or use `CommandProbe`.
    """

    __slots__ = ()

    def ask(self) -> Verdict:
        """Asks once. Blocks, for no longer than the probe's time-out where it has one."""
        return drive(self.steps(_no_limit), SYSTEM)

    async def aask(self) -> Verdict:
        """Asks once. If it is cancelled, its connection is closed and its command killed."""
        return await drive_async(self.steps(_no_limit), SYSTEM)

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        """The steps that lead to the verdict. ``left`` tells how many seconds there are at most."""
        raise NotImplementedError

    def __and__(self, other: Probe) -> Probe:
        return _Pair(self, other, decided_by=False)

    def __or__(self, other: Probe) -> Probe:
        return _Pair(self, other, decided_by=True)


def _no_limit() -> float:
    return math.inf


class _Pair(Probe):
    """Two probes, of which the first decides alone where its verdict is ``decided_by``."""

    __slots__ = ("_decided_by", "_probes")

    def __init__(self, first: Probe, second: Probe, *, decided_by: bool) -> None:
        self._probes = (first, second)
        self._decided_by = decided_by

    def __repr__(self) -> str:
        first, second = self._probes
        return f"({first!r} {'|' if self._decided_by else '&'} {second!r})"

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        reasons: list[str] = []
        for probe in self._probes:
            verdict = yield from probe.steps(left)
            if verdict.up is self._decided_by:
                return verdict
            reasons.append(verdict.reason)
        return Verdict(not self._decided_by, "; ".join(reasons))


class _DownError(Exception):
    """Ends a probe's steps; the text is the reason."""


class _Timed(Probe):
    """A probe with a time-out of its own, in seconds, which what is left for it can shorten."""

    __slots__ = ("timeout",)

    def __init__(self, timeout: float) -> None:
        self.timeout = validate.seconds("timeout", timeout, above=True)

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        seconds = min(self.timeout, left())
        if seconds <= 0:
            return Verdict(False, f"no time was left to ask {self.target}")
        try:
            return Verdict(True, (yield from self._answer(SYSTEM.now() + seconds)))
        except TimeoutError:
            return Verdict(False, f"no answer from {self.target} within {seconds:.3g} s")
        except _DownError as down:
            return Verdict(False, str(down))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return Verdict(False, f"connection refused by {self.target}")
            return Verdict(False, f"{_why(error)}: {self.target}")

    @property
    def target(self) -> str:
        """Whom it asks."""
        raise NotImplementedError

    def _answer(self, deadline: float) -> Steps[str]:
        """Answers with the reason for which the node is up."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target}>"


class TcpProbe(_Timed):
    """Up where a TCP connection comes about.

    ``host`` is an address, also of IPv6, or a name, which the system's resolver looks up each time. The
    time-out holds for the lookup too, in both worlds: a resolver that takes longer goes on in a thread of
    its own (one at most for each probe), and what it finds counts for the next time of asking.
    """

    __slots__ = ("_lookup", "host", "port")

    def __init__(self, host: str, port: int, *, timeout: float = 0.3) -> None:
        super().__init__(timeout)
        self.host = _host(host)
        self.port = _port(port)
        self._lookup: _Lookup | None = None

    @property
    def target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _answer(self, deadline: float) -> Steps[str]:
        with (yield from self._connect(deadline)) as connection:
            return (yield from self._talk(connection, deadline))

    def _talk(self, _connection: socket.socket, _deadline: float) -> Steps[str]:
        yield from ()
        return f"connected to {self.target}"

    def _connect(self, deadline: float) -> Steps[socket.socket]:
        """To the first of the host's addresses that takes it, each with its share of the time."""
        addresses = yield from self._addresses(deadline)
        error: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
        for i, address in enumerate(addresses):
            now = SYSTEM.now()
            share = now + (deadline - now) / (len(addresses) - i)
            try:
                return (yield from _connected(address, share))
            except OSError as caught:
                error = caught
        raise error

    def _addresses(self, deadline: float) -> Steps[list[_Address]]:
        import socket

        try:
            return _addresses(self.host, self.port, socket.AI_NUMERICHOST)
        except OSError:
            pass  # a name
        lookup = self._lookup
        if lookup is None or lookup.is_stale:
            lookup = self._lookup = _Lookup(self.host, self.port)
        if not (yield from _happens(lambda: lookup.finished is not None, deadline)):
            raise _DownError(f"{self.host} is not resolved yet")
        if self._lookup is lookup:  # not one that another caller has started since
            self._lookup = None
        if lookup.error is not None:
            raise _DownError(f"{self.host} cannot be resolved: {lookup.error}")
        return lookup.addresses


class HttpProbe(TcpProbe):
    """Up where an HTTP server answers ``GET path`` with an expected status.

    ``expect`` is text such as ``"200,204,300-399"``, or statuses. Nothing but the status line is read (after
    answers in between, 1xx, are skipped), from 64 KiB at most and within the time-out from the first step to
    the last. ``host_header`` is sent where the server serves by name. Redirections are not followed.
    """

    __slots__ = ("_expected", "_request", "path")

    def __init__(
        self,
        host: str,
        port: int = 80,
        path: str = "/",
        *,
        expect: str | Iterable[int] = "200-399",
        host_header: str | None = None,
        timeout: float = 1.0,
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        if not path.startswith("/") or not _is_token(path) or "#" in path:
            raise SettingError(
                f"path: {path!r}: must start with / and be ASCII without spaces or #: percent-encode the rest"
            )
        if host_header is None:
            name = self.host.partition("%")[0]  # the zone of an IPv6 address means nothing to the server
            name = f"[{name}]" if ":" in name else name.encode("idna").decode()
            host_header = name if self.port == 80 else f"{name}:{self.port}"
        elif not _is_token(host_header):
            raise SettingError(f"host_header: {host_header!r}: must be a host's name in ASCII")
        self.path = path
        self._expected = parse_statuses(expect)
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host_header}\r\nUser-Agent: rpi-clusterhat-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def _talk(self, connection: socket.socket, deadline: float) -> Steps[str]:
        rest = memoryview(self._request)
        while rest:
            yield from _until(Writable, connection, deadline)
            rest = rest[connection.send(rest) :]
        data = b""
        while (status := read_status(data)) is None:
            if len(data) >= _ANSWER_MAX:
                raise _DownError(f"no status in the first {_ANSWER_MAX // 1024} KiB from {self.target}")
            yield from _until(Readable, connection, deadline)
            more = connection.recv(_ANSWER_MAX - len(data))
            if not more:
                raise _DownError(f"{self.target} closed the connection without an answer")
            data += more
        if isinstance(status, bytes):
            raise _DownError(f"not HTTP from {self.target}: {status[:40]!r}")
        if status not in self._expected:
            raise _DownError(f"unexpected status {status} from {self.target}")
        return f"status {status} from {self.target}"


class UsbProbe(Probe):
    """Up where the controller's kernel sees the node as a USB device: a sign of life without a network.

    ``serial`` is the serial number that the device tells, which is the node's number with the vendor's
    images. Of ``vendor`` 3171 only nodes count (products 002x), not the vendor's own boards and hubs. A
    ``vendor`` of None takes any device. ``root`` is the folder of the kernel's devices. There is no time-out:
    the kernel answers at once unless it is busy with this very device.
    """

    __slots__ = ("root", "serial", "vendor")

    def __init__(
        self, serial: str | int, *, vendor: str | None = "3171", root: str = "/sys/bus/usb/devices"
    ) -> None:
        self.serial = str(serial)
        self.vendor = None if vendor is None else vendor.lower()
        self.root = root
        if not self.serial or not self.serial.isprintable() or self.serial != self.serial.strip():
            raise SettingError(f"serial: {serial!r}: must be the device's serial number, such as 3")
        if self.vendor is not None and (len(self.vendor) != 4 or set(self.vendor) - set("0123456789abcdef")):
            raise SettingError(f"vendor: {vendor!r}: must be four hexadecimal digits, or None for any")

    def __repr__(self) -> str:
        return f"<UsbProbe {self.serial}>"

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        if left() <= 0:
            return Verdict(False, f"no time was left to look for USB device {self.serial}")
        verdict: Verdict = yield Call(self._look)  # may wait for the kernel, which is busy with the device
        return verdict

    def _look(self) -> Verdict:
        try:
            devices = sorted(os.listdir(self.root))
        except OSError as error:
            return Verdict(False, f"{_why(error)}: {self.root}")
        for device in devices:
            vendor, product, serial = (
                self._attribute(device, name) for name in ("idVendor", "idProduct", "serial")
            )
            if serial != self.serial or self.vendor not in (None, vendor):
                continue
            if self.vendor != "3171" or product.startswith("002"):
                return Verdict(True, f"USB device {device} has the serial number {self.serial}")
        whose = "" if self.vendor is None else f" of vendor {self.vendor}"
        return Verdict(False, f"no USB device{whose} has the serial number {self.serial}")

    def _attribute(self, device: str, name: str) -> str:
        try:
            with open(os.path.join(self.root, device, name), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:  # an interface, which has no such attribute, or a device that just left
            return ""


class CommandProbe(_Timed):
    """Up where a command ends with status 0. No shell; nothing to read, and its output goes nowhere.

    At its time-out or when the asking is cancelled it is killed, with all of its process group.
    """

    __slots__ = ("argv",)

    def __init__(self, *argv: str, timeout: float = 5.0) -> None:
        super().__init__(timeout)
        if not argv or not argv[0] or any("\0" in word for word in argv):
            raise SettingError(f"argv: {argv!r}: must be a command and its arguments, without NUL characters")
        self.argv = argv

    @property
    def target(self) -> str:
        return repr(self.argv[0])  # not the arguments, which may be secret

    def _answer(self, deadline: float) -> Steps[str]:
        import subprocess

        nothing = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                self.argv, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
            )
        except OSError as error:
            raise _DownError(f"{self.target} cannot be run: {_why(error)}") from error
        try:
            ended = yield from _happens(lambda: process.poll() is not None, deadline)
        finally:
            _kill(process)
        if not ended:
            raise TimeoutError
        if process.returncode:
            how = "status" if process.returncode > 0 else "signal"
            raise _DownError(f"{self.target} ended with {how} {abs(process.returncode)}")
        return f"{self.target} ended with status 0"


# Waiting --------------------------------------------------------------------------------------------


def wait_until_up(
    probe: Probe, *, timeout: float, interval: float = 0.1, ready_after: float = 0.0, clock: Clock = SYSTEM
) -> Verdict:
    """Asks until the node is up, or until the time is over: then ``up`` is False and the reason is the last.

    ``timeout`` bounds it all, in seconds; infinite is allowed. ``interval`` lies between the starts of two
    attempts; after one that takes longer comes the next at once. With ``ready_after`` the node must have
    answered for so many seconds without a failure in between. Blocks; may be called from any thread.
    """
    return drive(_wait(probe, timeout, interval, ready_after, clock), clock)


async def await_until_up(
    probe: Probe,
    *,
    timeout: float,  # noqa: ASYNC109  # on the clock given, not the event loop's
    interval: float = 0.1,
    ready_after: float = 0.0,
    clock: Clock = SYSTEM,
) -> Verdict:
    """See `wait_until_up`."""
    return await drive_async(_wait(probe, timeout, interval, ready_after, clock), clock)


def _wait(probe: Probe, timeout: float, interval: float, ready_after: float, clock: Clock) -> Steps[Verdict]:
    if timeout != math.inf:
        validate.seconds("timeout", timeout, above=True)
    validate.seconds("interval", interval, above=True)
    validate.seconds("ready_after", ready_after)
    start = clock.now()
    end = start + timeout
    up_since: float | None = None
    while True:
        began = clock.now()
        verdict = yield from probe.steps(lambda: end - clock.now())
        now = clock.now()
        if not verdict.up:
            up_since = None
        elif now - (up_since := now if up_since is None else up_since) >= ready_after:
            return verdict
        again = max(now, began + interval)
        if again >= end:
            settling = f", but not yet for {ready_after:g} s" if verdict.up else ""
            return Verdict(False, f"{verdict.reason}{settling} (tried for {now - start:.3g} s)")
        if again > now:
            yield Sleep(again - now)


# Arguments ------------------------------------------------------------------------------------------


def _is_token(text: str) -> bool:
    return bool(text) and all("!" <= c <= "~" for c in text)


def _host(host: str) -> str:
    try:
        if host.isprintable() and not set(host) & set(" /[]@") and host.encode("idna"):
            return host
    except UnicodeError:
        pass
    raise SettingError(f"host: {host!r}: must be a host's name or address, without brackets, port or scheme")


def _port(port: int) -> int:
    if type(port) is not int or not 1 <= port <= 65535:
        raise SettingError(f"port: {port!r}: must be a number from 1 to 65535")
    return port


def parse_statuses(expect: str | Iterable[int]) -> frozenset[int]:
    found: set[int] = set()
    for part in expect.split(",") if isinstance(expect, str) else map(str, expect):
        low, dash, high = (x.strip() for x in part.partition("-"))
        bounds = (low, high if dash else low)
        if not all(x.isascii() and x.isdigit() and len(x) == 3 and "100" <= x <= "599" for x in bounds):
            break
        span = range(int(bounds[0]), int(bounds[1]) + 1)
        if not span:
            break
        found.update(span)
    else:
        if found:
            return frozenset(found)
    raise SettingError(f"expect: {expect!r}: must be statuses from 100 to 599, such as 200,204,300-399")


# Sockets and processes ------------------------------------------------------------------------------

_ANSWER_MAX = 64 * 1024


def _why(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def _until(wait: type[Readable | Writable], connection: socket.socket, deadline: float) -> Steps[None]:
    if (left := deadline - SYSTEM.now()) <= 0 or not (yield wait(connection.fileno(), left)):
        raise TimeoutError


def _happens(is_so: Callable[[], bool], deadline: float) -> Steps[bool]:
    """Looks again and again, soon at first. Answers False where the time ran out before."""
    pause = 0.001
    while not is_so():
        if (left := deadline - SYSTEM.now()) <= 0:
            return False
        yield Pause(min(pause, left))
        pause = min(2 * pause, 0.02)
    return True


def _connected(address: _Address, deadline: float) -> Steps[socket.socket]:
    import socket

    family, kind, protocol, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        error = connection.connect_ex(where)
        if error == errno.EINPROGRESS:
            yield from _until(Writable, connection, deadline)
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and connection.getsockname() == connection.getpeername():
            # Nobody listens, but on loopback the system happened to draw this very port for our own end.
            error = errno.ECONNREFUSED
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        connection.close()
        raise
    return connection


def _addresses(host: str, port: int, flags: int = 0) -> list[_Address]:
    import socket

    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


class _Lookup:
    """A name being looked up, in a thread of its own: the resolver takes seconds where nobody answers to a
    name, cannot be interrupted, and would soon hold all worker threads of an event loop."""

    FRESH = 5.0
    """Seconds for which what was found without anybody waiting for it still counts."""

    def __init__(self, host: str, port: int) -> None:
        import threading

        self.addresses: list[_Address] = []
        self.error: str | None = None
        self.finished: float | None = None
        threading.Thread(target=self._run, args=(host, port), name=f"resolve {host}", daemon=True).start()

    @property
    def is_stale(self) -> bool:
        return self.finished is not None and SYSTEM.now() - self.finished > self.FRESH

    def _run(self, host: str, port: int) -> None:
        try:
            self.addresses = _addresses(host, port)
        except OSError as error:
            text = error.strerror or str(error)
            self.error = text[:1].lower() + text[1:]
        finally:
            self.finished = SYSTEM.now()


def read_status(data: bytes) -> int | bytes | None:
    """The final status in what has come so far, None where more is needed, or the line that is not HTTP."""
    *lines, rest = data.split(b"\n")
    in_fields = False  # of an answer in between, whose end is an empty line
    for line in lines:
        text = line.removesuffix(b"\r")
        if in_fields:
            in_fields = bool(text)
            continue
        version, _, after = text.partition(b" ")
        code = after[:3]
        if len(version) != 8 or not version.startswith(b"HTTP/1.") or not version[7:].isdigit():
            return text
        if len(code) != 3 or not code.isdigit() or after[3:4] not in (b"", b" "):
            return text
        if code[:1] != b"1" or code == b"101":
            return int(code)
        in_fields = True
    if not in_fields and rest[:7] != b"HTTP/1."[: len(rest)]:
        return rest
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With its group, which is its own; nothing is done where it has ended."""
    if process.returncode is not None:
        return
    import signal

    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:  # it runs as another user by now: neither to be killed nor to be waited for
        return
    process.wait()
