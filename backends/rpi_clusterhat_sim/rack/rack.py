"""A rack of nodes that are computers: each a Linux with a disk, a serial console and a network, as processes.

    with Rack(["p1", "p2"]) as rack:
        rack.set_power("p1", True)
        rack.console("p1"), rack.address("p1"), rack.ssh_address("p1")

Its nodes have power as `Rack.set_power` says, whoever calls it for whatever reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.errors import BackendError, ClosedError, NodeNameError
from rpi_clusterhat_sim.node import node_number
from rpi_clusterhat_sim.ports import Port

from .built import find, path
from .disk import is_clean
from .seat import HTTP, LAST, SSH, Seat

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from .built import Built

__all__ = ["MEMORY", "Rack"]

MEMORY = 176
"""Megabytes of a node."""
_PATIENCE = 30.0
"""Seconds for what is a matter of milliseconds, on a machine that is busy."""


class Rack:
    """Computers that are switched on and off like the nodes of a board.

    A node that gets power boots; one whose power is cut ends at that moment, and its disk stays as it is.
    One that halts by itself ends too, and stays down until its power was off. The ports of a node for the web
    and for ssh are offered at addresses of this machine, which refuse who connects while the node's own port
    does not answer. The rest of its network is its own.

    Nodes are run by a process beside this one, which ends with it, however that ends, and with it all nodes.
    It is started with the first node. All methods may be called from any thread.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        built: Built | None = None,
        folder: str | None = None,
        memory: int = MEMORY,
    ) -> None:
        """Has no node running yet.

        Args:
            names: ``p1`` …
            built: What nodes are made of; None for what ``make rack`` has built.
            folder: Where their disks, and links to their consoles, are; None for one that ends with the rack.
            memory: Megabytes of each node.

        Raises:
            BackendUnavailableError: No rack was built, or this machine or this user cannot run it.
            NodeNameError: A name is not one of p1 to p253.
            OSError: The folder, or a port, cannot be had.
        """
        self._built = find() if built is None else built
        self._memory = memory
        self._temporary = folder is None
        self.folder = tempfile.mkdtemp(prefix="rack-") if folder is None else os.path.abspath(folder)
        os.makedirs(os.path.join(self.folder, "dev"), exist_ok=True)
        self._seats: dict[str, Seat] = {}
        self._ports: dict[str, dict[int, Port]] = {}
        self._lock = threading.Lock()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False
        after_fork(self, Rack._leave_to_the_parent)
        try:
            self.add(names)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Rack of {len(self._seats)} nodes in {self.folder}{' closed' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def names(self) -> list[str]:
        return list(self._seats)

    def add(self, names: Iterable[str]) -> None:
        """Makes room for nodes; those that have some keep it.

        Raises:
            NodeNameError: A name is not one of p1 to p253.
            BackendError: A node has had power already: room is made before.
            OSError: There are no free ports.
        """
        with self._lock:
            for name in [name for name in dict.fromkeys(names) if name not in self._seats]:
                number = node_number(name) or 0
                if not 1 <= number <= LAST or name != f"p{number}":
                    raise NodeNameError(f"a rack has no node {name!r}: its nodes are p1 to p{LAST}")
                if self._control is not None:
                    raise BackendError(f"no room for {name}: a node of the rack has had power already")
                self._ports[name] = {port: Port() for port in (HTTP, SSH)}
                self._seats[name] = Seat(name, self.folder)

    def set_power(self, name: str, on: bool) -> None:
        """Switches a node; one that has what is asked for is left alone.

        When this returns after a cut, nothing of the node is left, and nobody can reach it.

        Raises:
            NodeNameError: There is no such node.
            BackendError: It cannot be started, or the nodes' process was killed.
            ClosedError: The rack was closed.
        """
        self._seat(name)
        with self._lock:
            if self._control is None and not on:
                return
            self._ask({"on" if on else "off": name})

    def is_powered(self, name: str) -> bool:
        """Whether it has power. Raises as `set_power` does."""
        return self._state(name)["powered"]

    def is_running(self, name: str) -> bool:
        """Whether it has power and has not halted. Raises as `set_power` does."""
        return self._state(name)["running"]

    def is_clean(self, name: str) -> bool:
        """Whether its file system was left cleanly; it is not while it runs. Raises as `set_power` does."""
        return is_clean(self._seat(name).disk)

    def console(self, name: str) -> str:
        """The path of its serial console, where there is one while it runs. Raises `NodeNameError`."""
        return self._seat(name).console

    def address(self, name: str) -> tuple[str, int]:
        """Host and TCP port of its web server. Raises `NodeNameError`."""
        return self._ports[self._seat(name).name][HTTP].address

    def ssh_address(self, name: str) -> tuple[str, int]:
        """Host and TCP port of its ssh server. Raises `NodeNameError`."""
        return self._ports[self._seat(name).name][SSH].address

    def disk(self, name: str) -> str:
        """The path of what the node has written, over the image that all share. Raises `NodeNameError`."""
        return self._seat(name).disk

    def close(self) -> None:
        """Cuts the power of all nodes, and leaves nothing of them but a folder that was given."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._control is not None:
                self._control.close()
            if self._keeper is not None:
                try:
                    self._keeper.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    self._keeper.kill()
                    self._keeper.wait()
            for ports in self._ports.values():
                for port in ports.values():
                    port.give_back()
            if self._temporary:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _seat(self, name: str) -> Seat:
        if name not in self._seats:
            raise NodeNameError(f"this rack has no node {name!r}: it has {', '.join(self._seats) or 'none'}")
        return self._seats[name]

    def _state(self, name: str) -> dict[str, bool]:
        self._seat(name)
        with self._lock:
            if self._control is None and not self._closed:
                return {"powered": False, "running": False}
            state: dict[str, bool] = self._ask({})[name]
            return state

    def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        if self._closed:
            raise ClosedError(f"{self!r} was closed: open it again")
        if self._control is None:
            self._start()
        assert self._control is not None
        try:
            self._control.sendall(json.dumps(request).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                if not (data := self._control.recv(1 << 16)):
                    raise ConnectionResetError(self._last_word())
                line += data
        except OSError as error:
            raise BackendError(f"the process that ran the nodes does not answer: {error}") from error
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(f"a node of the rack cannot be switched: {answer['error']}")
        return answer

    @property
    def _log(self) -> str:
        return os.path.join(self.folder, "keeper.log")

    def _last_word(self) -> str:
        """What the process that ran the nodes said at its end."""
        try:
            with open(self._log, encoding="utf-8", errors="replace") as file:
                said = file.read(1 << 16).split("\n")
        except OSError:
            said = []
        return next((line for line in reversed(said) if line.strip()), "it was killed")

    def _start(self) -> None:
        """Starts the process that runs the nodes."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            files = {
                name: {port: stack.enter_context(own.bound()).fileno() for port, own in ports.items()}
                for name, ports in self._ports.items()
            }
            plan = {
                "built": self._built.place,
                "folder": self.folder,
                "temporary": self._temporary,
                "memory": self._memory,
                "control": theirs.fileno(),
                "nodes": files,
            }
            # The first process of a namespace takes all others with it, and ends itself with its parent.
            apart = ("--net", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL")
            python = [sys.executable, "-P", "-m", f"{__package__}.keeper", json.dumps(plan)]
            found = os.pathsep.join(map(os.path.abspath, sys.path))  # an empty one is the working folder
            passed = [theirs.fileno(), *(fd for ports in files.values() for fd in ports.values())]
            unshare = shutil.which("unshare", path=path()) or "unshare"
            try:
                log = stack.enter_context(open(self._log, "wb"))
                self._keeper = subprocess.Popen(
                    [unshare, *apart, "--", *python],
                    pass_fds=passed,
                    env={**os.environ, "PYTHONPATH": found},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise BackendError(f"the process that runs the nodes cannot be started: {error}") from error
        ours.settimeout(_PATIENCE)
        self._control = ours

    def _leave_to_the_parent(self) -> None:
        """In a forked child: nothing of the rack may be held here, or it would not end with the parent."""
        if self._control is not None:
            self._control.close()
        for ports in self._ports.values():
            for port in ports.values():
                port.give_back()
        self._keeper = None
        self._temporary = False
        self._closed = True
        self._lock = threading.Lock()
