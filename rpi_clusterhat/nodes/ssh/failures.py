"""What the ssh client's messages mean, and what can be done."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import HostKeyError, LoginError, NodeAccessError

if TYPE_CHECKING:
    from .host_keys import HostKeys

__all__ = ["failure", "host_key_error"]

_ADVICE = (
    (r"Could not resolve hostname", "Nobody knows this name: say its address (host=)"),
    (r"Connection refused", "It may be booting, or its ssh server is off: sudo systemctl enable --now ssh"),
    (r"No route to host|Network is unreachable|timed out", "It is off, booting, or not in this network"),
    (
        r"Connection (closed|reset)|kex_exchange_identification|Broken pipe",
        "It may be booting or halting; its log says more: journalctl -u ssh",
    ),
    (r"Bad owner or permissions|Bad configuration option|bad configuration", "Mend the settings of ssh"),
    (r"Unable to negotiate", "Its ssh server and this client have nothing in common: update the older one"),
)
_DENIED = re.compile(r"^(?:(\S+)@\S+: )?Permission denied \(([^)]*)\)", re.MULTILINE)
_TOO_MANY = re.compile(r"Too many authentication failures")
_KEY_CHANGED = re.compile(
    r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed|No \S+ host key is known"
)
_FINGERPRINT = re.compile(r"(\S+) key sent by the remote host is\s+(SHA256:[A-Za-z0-9+/]+)")


def failure(name: str, target: str, port: int | None, said: str, keys: HostKeys) -> NodeAccessError:
    """Returns the error for a client that got no connection.

    Args:
        name: The node's.
        target: Where it was looked for: host, or user and host.
        port: The port, where one was said.
        said: What the client wrote.
        keys: The node's pinned keys.
    """
    if _KEY_CHANGED.search(said):
        return host_key_error(name, target, said, keys)
    if denied := _DENIED.search(said):
        user, ways = denied[1] or target.rpartition("@")[0], denied[2]
        who = f"user {user}" if user else "this user"
        address = f"{user}@{target.rpartition('@')[2]}" if user else target
        copy = shlex.join(["ssh-copy-id", *(["-p", str(port)] if port else []), address])
        why = "".join(f"; {line}" for line in _about_keys(said))
        return LoginError(
            f"{name} refused {who} by ssh (it takes: {ways}{why}). Passwords are not used: put your key "
            f"there ({copy}), or say which key it is (identity=)"
        )
    if _TOO_MANY.search(said):
        return LoginError(
            f"{name} refused all of the many keys that were offered by ssh: say which one it is (identity=)"
        )
    line = _last_line(said) or "the ssh client failed and did not say why"
    advice = next((text for pattern, text in _ADVICE if re.search(pattern, said)), "")
    return NodeAccessError(f"{name} was not reached by ssh: {line}{'. ' if advice else ''}{advice}")


def host_key_error(name: str, target: str, said: str, keys: HostKeys) -> HostKeyError:
    """Returns the error for a host key that is not the pinned one."""
    known = " or ".join(keys.fingerprints().values()) or "another"
    now = _FINGERPRINT.search(said)
    is_now = f"{now[2]} ({now[1]})" if now else "another"
    return HostKeyError(
        f"{name}'s ssh host key has changed: it was {known} and is {is_now} now, so nothing was sent. Either "
        f"its system was installed anew, or {target} is not {name}. Where you know that it is, forget the "
        f"old key: {shlex.join(['rm', keys.path])}, or Ssh.forget_host_key()"
    )


def _about_keys(said: str) -> list[str]:
    """What the client says of private keys that it could not use."""
    lines = (_shown(line) for line in said.splitlines())
    return [line for line in lines if line.startswith(("Load key", "Permissions ", "Warning: Identity"))][:2]


def _last_line(said: str) -> str:
    lines = [_shown(line) for line in said.splitlines()]
    return next((line.rstrip(".") for line in reversed(lines) if line), "")


def _shown(line: str) -> str:
    text = "".join(c for c in line if c.isprintable()).strip().removeprefix("ssh: ")
    return text[:300]
