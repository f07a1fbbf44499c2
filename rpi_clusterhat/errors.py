"""The errors that this library raises.

All have one root. Where a caller would expect a builtin in an ``except``, the error is that builtin too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ClusterHatError(Exception):
    """Every error of this library is one of these."""


class ClosedError(ClusterHatError):
    """The cluster or backend was closed before this call. Open a new one."""


# Settings and names ---------------------------------------------------------------------------------


class SettingError(ClusterHatError, ValueError):
    """A setting, an option or a settings file is wrong.

    The text names the place (file and key), the value, and what is allowed.
    """


class NodeNameError(ClusterHatError, LookupError):
    """A list of nodes cannot be read, or names a node that this cluster does not have.

    The text lists the names that there are.
    """

    __str__ = Exception.__str__


class UnsupportedError(ClusterHatError):
    """The board has no such function: a v1 board has no LED control, for example.

    ``cluster.boards`` lists the functions of each board. Nor can write protection be switched off where a
    solder link holds it on.
    """


# The board and its backend ---------------------------------------------------------------------------


class BoardNotFoundError(ClusterHatError, LookupError):
    """No Cluster HAT describes itself to this controller.

    Say which one is fitted: ``board="2.3"``.
    """

    __str__ = Exception.__str__


class BackendError(ClusterHatError):
    """Something went wrong between the library and the hardware."""


class UnknownBackendError(BackendError, LookupError):
    """No installed distribution offers a backend of this name.

    The text lists the names that there are.
    """

    __str__ = Exception.__str__


class AmbiguousBackendError(BackendError):
    """Two distributions offer a backend of this name.

    Uninstall one of the two that the text names.
    """


class BackendUnavailableError(BackendError):
    """The backend is installed, but it cannot be used here. The text says why and what to do.

    This happens while a cluster is opened, never later. Nothing was switched.
    """


class MissingDependencyError(BackendUnavailableError, ImportError):
    """The backend needs a package that is not installed. The text has the ``pip install`` line."""


class AccessDeniedError(BackendUnavailableError, PermissionError):
    """This user may not open a device or a lock. The text names the file and the group to join."""


class DeviceNotFoundError(BackendUnavailableError, FileNotFoundError):
    """There is no such bus, chip, line or device. The text names it and says what provides it."""


class LineBusyError(BackendUnavailableError):
    """Another program or a kernel driver holds a line or an address. The text names the holder.

    This can happen at any time. End the holder, or use the backend that goes through it.
    """


class BusError(BackendError, OSError):
    """A transfer failed. ``errno`` is the kernel's, where the kernel gave one."""

    def __str__(self) -> str:
        return self.strerror or Exception.__str__(self)


class TransientBusError(BusError):
    """A transfer failed in a way that can pass, and failed again each time it was retried.

    Causes are a missing acknowledge, lost arbitration or a time-out. It is not known whether anything was
    written: read, then try again.
    """


class DeviceGoneError(BusError):
    """The bus or chip went away under an open backend.

    Trying again does not help: close the cluster and open a new one.
    """


class StuckLineError(BackendError):
    """A line was written and reads back as the opposite.

    Look at the board for a short circuit, or for something else that drives the line.

    Args:
        text: What is wrong: all there is to say, or only what holds for each of the lines.
        lines: The lines, each as it is to be shown.
        advice: What to do.
    """

    def __init__(self, text: str, lines: Iterable[str] = (), advice: str = "") -> None:
        self.lines = tuple(lines)
        super().__init__(": ".join(filter(None, (text, ", ".join(self.lines), advice))))
        self.text = text
        self.advice = advice


class PowerLostError(BackendError):
    """The expander lost power during an operation, and with it all its outputs.

    The operation was ended. The next ``on``, ``off`` or ``init`` sets the expander up again.
    """


class LevelsNotHeldError(BackendError):
    """The lines drop back when this program ends.

    ``on`` without ``--hold`` is refused for that reason: nothing was switched. `Cluster.close` raises this
    where nodes or functions that were switched off are on again. Hold the lines, or use a backend that keeps
    its levels.
    """


# Power ----------------------------------------------------------------------------------------------


class TransitionError(ClusterHatError):
    """An event is not allowed in the state that a node is in. The state has not changed."""


class NodeFailedError(ClusterHatError):
    """A node could not be switched. The text has the reason.

    The reason stays in the node's ``failure`` until the node is switched again. The other nodes of the same
    call were switched.
    """


class SupersededError(ClusterHatError):
    """Another caller asked for the opposite before this was done.

    A node was switched off while it waited for its turn to be switched on; or it was to stay on after all
    before it had been asked to halt. The other nodes of the same call were switched.
    """


# Nodes as computers ---------------------------------------------------------------------------------


class NodeAccessError(ClusterHatError):
    """A node could not be reached as a computer: over its console, by ssh or through a hook.

    The text says what was tried and what came of it.
    """


class ConsoleError(NodeAccessError):
    """A node's console cannot be used: there is none, it may not be opened, or nothing answers on it."""


class ConsoleMissingError(ConsoleError):
    """There is no such console: the node has no power, has not booted so far, or its image offers none."""


class ConsoleBusyError(ConsoleError):
    """Another program holds the console. The text names it, where this user may know."""


class LoginError(NodeAccessError):
    """A node refused the user or the secret. The text names the user, and never the secret."""


class HostKeyError(NodeAccessError):
    """A node's ssh host key is not the one that was seen at the first contact.

    Nothing was sent to it. The text says how to accept the new key, where the change was meant.
    """


class CommandTimeoutError(NodeAccessError, TimeoutError):
    """A command on a node did not end in time. It may still be running there."""


class HaltError(ClusterHatError):
    """A node was not halted, so that its power was not cut.

    ``off(cut=False)`` raises this where the time for halting ran out or no way of halting worked.
    """


class HaltRefusedError(HaltError):
    """A guard refused to have a node halted: a job runs on it, say. Its power was not cut."""


# Leases ---------------------------------------------------------------------------------------------


class PoolError(ClusterHatError):
    """The pool cannot give a node."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        """In how many seconds to ask again, where the pool can tell, else None."""


class QueueFullError(PoolError):
    """As many leases as ``queue`` allows wait for a node already. Ask again later."""


class LeaseTimeoutError(PoolError, TimeoutError):
    """No node was available within ``queue_timeout``. Ask again: a boot that was started goes on."""


class BootError(PoolError):
    """The node that was chosen could not be switched on, and there was no other node to try.

    The text has the reason. The node is not used for ``retry_after`` seconds.
    """


class BootTimeoutError(BootError, TimeoutError):
    """The node that was chosen did not answer within ``boot_timeout``. See `BootError`."""


class NoNodeError(PoolError):
    """No node can be used now: all that are allowed failed a short time ago. Ask again later."""


class LeaseInUseError(ClusterHatError, RuntimeError):
    """``ask`` was called on a lease that has a node or waits for one. Nothing has changed.

    Release it before it is asked for again, or take another lease.
    """


class NotReadyError(PoolError):
    """The lease was for a node that is ready (``passive``), and none is."""


class PoolClosedError(PoolError, ClosedError):
    """The pool is closed, or it is draining and gives no new leases."""


# Locks ----------------------------------------------------------------------------------------------


class LockError(ClusterHatError, OSError):
    """A shared lock cannot be opened. The text names the file and what to do."""

    __str__ = BusError.__str__


class LockTimeoutError(ClusterHatError, TimeoutError):
    """Another process held a shared lock for longer than the time allowed.

    The text names the file. Try again later.
    """
