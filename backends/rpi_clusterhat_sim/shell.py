"""The login and the shell on the console of a simulated node: text in, text out, nothing of this machine."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PASSWORD", "USER", "Shell"]

USER, PASSWORD = "pi", "raspberry"
_LINE = 1024
"""Characters that a line may have."""

_KERNEL = "6.12.0-sim"
_HELP = "echo, exit, help, hostname, poweroff, sudo poweroff, true, false, uname, uptime, whoami"


class Shell:
    """What a person meets who types. Not for several threads.

    Args:
        node: The node's name.
        uptime: Returns for how many seconds it is up.
        poweroff: Has it halt; returns why it does not, or an empty text.
    """

    def __init__(self, node: str, uptime: Callable[[], float], poweroff: Callable[[], str]) -> None:
        self._node = node
        self._uptime = uptime
        self._poweroff = poweroff
        self._user: str | None = None
        self._is_in = False
        self._line = ""
        self._status = 0
        self._after_return = False

    @property
    def prompt(self) -> str:
        """What is asked now."""
        if self._is_in:
            return f"{USER}@{self._node}:~ $ "
        return f"{self._node} login: " if self._user is None else "Password: "

    def typed(self, text: str) -> str:
        """Returns what is written to somebody who typed this."""
        return "".join([self._key(key) for key in text])

    def _key(self, key: str) -> str:
        after_return, self._after_return = self._after_return, key == "\r"
        match key:
            case "\r" | "\n":
                if key == "\n" and after_return:
                    return ""
                line, self._line = self._line, ""
                return f"\r\n{self._entered(line)}{self.prompt}"
            case "\x7f" | "\b":
                erased, self._line = bool(self._line), self._line[:-1]
                return "\b \b" if erased and self._is_shown else ""
            case "\x03":
                self._line, self._status = "", 130
                return f"^C\r\n{self.prompt}"
            case "\x04":
                return "" if self._line or not self._is_in else f"\r\n{self._leave()}{self.prompt}"
            case _ if key.isprintable() and len(self._line) < _LINE:
                self._line += key
                return key if self._is_shown else ""
            case _:
                return ""

    @property
    def _is_shown(self) -> bool:
        return self._is_in or self._user is None

    def _entered(self, line: str) -> str:
        if self._is_in:
            return self._run(line)
        if self._user is None:
            self._user = line.strip() or None
            return ""
        user, self._user = self._user, None
        if (user, line) != (USER, PASSWORD):
            return "Login incorrect\r\n"
        self._is_in = True
        return f"Linux {self._node} {_KERNEL}: a simulated node, where 'help' lists all that can be run\r\n"

    def _leave(self) -> str:
        self._is_in, self._user, self._status = False, None, 0
        return "logout\r\n\r\n"

    def _run(self, line: str) -> str:
        try:
            words = shlex.split(line.replace("$?", str(self._status)))
        except ValueError as error:
            self._status = 2
            return f"-sh: {error}\r\n"
        if not words:
            return ""
        if words[0] in ("exit", "logout"):
            return self._leave()
        said, self._status = self._done(words)
        return said.replace("\n", "\r\n") + "\r\n" if said else ""

    def _done(self, words: list[str]) -> tuple[str, int]:
        """What a command prints, and its exit status."""
        match words:
            case ["echo", *rest]:
                return " ".join(rest) or "\n", 0
            case ["uname", "-a"]:
                return f"Linux {self._node} {_KERNEL} #1 SIM GNU/Linux", 0
            case ["uname", *rest]:
                return {"-n": self._node, "-r": _KERNEL}.get("".join(rest), "Linux"), 0
            case ["hostname"]:
                return self._node, 0
            case ["whoami"]:
                return USER, 0
            case ["uptime"]:
                return f"up {self._uptime():.0f} s", 0
            case ["true"] | ["false"]:
                return "", int(words[0] == "false")
            case ["help"]:
                return _HELP, 0
            case ["poweroff" | "halt"] | ["sudo", "poweroff" | "halt"] | ["sudo", "-n", "poweroff" | "halt"]:
                refused = self._poweroff()
                return refused, int(bool(refused))
            case _:
                return f"-sh: {words[0]}: not found", 127
