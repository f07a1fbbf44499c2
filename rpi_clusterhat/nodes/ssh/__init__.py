"""Commands on a node by the system's OpenSSH client."""

from __future__ import annotations

from .client import Ssh

__all__ = ["Ssh"]
