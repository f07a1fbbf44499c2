"""The host keys of a node that were seen at the first contact."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.errors import NodeAccessError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HostKeys", "default_folder"]

_FILE_MOST = 64 * 1024


class HostKeys:
    """A node's pinned host keys, in a file of its own. May be used from any thread.

    Args:
        folder: Where the files are; None for `default_folder`.
        name: The node's name, which is that of the file.

    Raises:
        SettingError: ssh could not be told of such a file.
    """

    __slots__ = ("path",)

    def __init__(self, folder: str | None, name: str) -> None:
        self.path = plain_path("folder", os.path.join(folder or default_folder(), name))

    def prepare(self) -> None:
        """Makes the folder and the file, where they are missing. Raises `NodeAccessError`."""
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise NodeAccessError(
                f"Host keys cannot be kept in {self.path}: {error.strerror}. Another folder can be set: "
                "folder=, or XDG_STATE_HOME"
            ) from error

    def fingerprints(self) -> Mapping[str, str]:
        """Returns the fingerprint of each pinned key by the key's type, as ssh writes it: ``SHA256:…``."""
        found: dict[str, str] = {}
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            for line in file.read(_FILE_MOST).splitlines():
                words = line.split()
                if len(words) >= 3 and not line.startswith((b"#", b"@")):
                    with suppress(binascii.Error, ValueError):
                        digest = hashlib.sha256(base64.b64decode(words[2], validate=True)).digest()
                        text = base64.b64encode(digest).rstrip(b"=").decode()
                        found[words[1].decode(errors="replace")] = f"SHA256:{text}"
        return found

    def forget(self) -> None:
        """Forgets the keys: those of the next contact are pinned."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)


def default_folder() -> str:
    """Returns ``rpi-clusterhat/host-keys`` in the user's folder for what programs keep."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "rpi-clusterhat", "host-keys")


def plain_path(name: str, path: object) -> str:
    """Returns a path with its ``~`` expanded, where ssh takes it for what it is.

    Raises:
        SettingError: It is none, or holds what the client reads as something else.
    """
    if isinstance(path, str) and path and path.isprintable() and not set(path) & set("\"'\\%$"):
        return os.path.abspath(os.path.expanduser(path))
    raise validate.invalid(name, path, "a path without quotes, backslashes, % and $")
