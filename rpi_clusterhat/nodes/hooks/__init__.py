"""Hooks for nodes that have neither a console nor ssh: a command on the controller, or an HTTP server."""

from __future__ import annotations

from .command import CommandHook
from .hook import Hook
from .http import HttpHook

__all__ = ["CommandHook", "Hook", "HttpHook"]
