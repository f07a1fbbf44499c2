"""What the last lines of a console say about the state it is in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .states import ConsoleState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["asks_for_new_password", "last_words", "state_of", "timed_out"]

_LONGEST = 500
"""Characters of a line's end that are looked at."""

_EMERGENCY = re.compile(
    r"(?:Give root password for|Press Enter for) (?:\w+ )?(?:maintenance|login)"
    r"|\(or (?:press|type) Control-D to continue\)"
    r"|^\(initramfs\)$|Cannot open access to console, the root account is locked",
    re.IGNORECASE,
)
_PANIC = re.compile(r"Kernel panic - not syncing|end Kernel panic", re.IGNORECASE)
_USER_WORDS = (
    "login", "log in", "user", "username", "user name", "benutzer", "benutzername", "anmelden",
    "anmeldename", "identifiant", "utilisateur", "nom d.utilisateur", "usuario", "utente",
    "utilizador", "gebruiker", "gebruikersnaam", "användarnamn", "brukernavn", "käyttäjätunnus",
    "użytkownik", "uživatel", "felhasználónév", "логин", "имя пользователя", "ユーザー名",
    "ログイン", "用户名", "登录", "登入", "로그인",
)  # fmt: skip
_SECRET_WORDS = (
    "password", "passcode", "passphrase", "pin", "passwort", "kennwort", "mot de passe",
    "contraseña", "clave", "senha", "palavra-passe", "wachtwoord", "lösenord", "passord",
    "adgangskode", "salasana", "hasło", "heslo", "jelszó", "parola", "lozinka", "geslo", "parool",
    "contrasenya", "şifre", "пароль", "κωδικός", "סיסמה", "パスワード", "密码", "密碼", "口令",
    "암호", "비밀번호",
)  # fmt: skip
_LOGIN = re.compile(rf"(?:^|(?<!last)[^\w])(?:{'|'.join(_USER_WORDS)}) ?[:\uff1a]$", re.IGNORECASE)
_PASSWORD = re.compile(
    rf"(?:^|[^\w])(?:{'|'.join(_SECRET_WORDS)})(?:[^:\uff1a]{{0,80}})[:\uff1a]$", re.IGNORECASE
)
_SHELL = re.compile(r"(?:[$#>\u276f➜»\u203aλ▶→⟩]|(?<![\d.])%|^\S*[^\s\d]\d+%)$|^[\u276f➜λ]")
_BOOT = re.compile(
    r"^(?:<\d+>)?\[ *\d+\.\d{3,}\]"  # the kernel's
    r"|^\[ {0,2}(?:OK|FAILED|DEPEND|TIME|WARN|INFO|SKIP|[ *]{4,6}) {0,2}\]"  # systemd's
    r"|^ {9}(?:Start|Stopp|Mount|Unmount)ing |^(?:Booting|Uncompressing) Linux|^Starting kernel"
)
_NEW_PASSWORD = re.compile(
    r"(?:new|current|old|retype|neues|aktuelles|nouveau|actuel|nueva|actual) "
    r".{0,20}(?:passw|mot de passe|contrase)"
    r"|(?:change|changing|expired|abgelaufen|expiré) .{0,40}passw|passw\w* .{0,60}(?:expired|changed?\b)",
    re.IGNORECASE,
)
_TIMED_OUT = re.compile(r"timed? ?out", re.IGNORECASE)
_LAST_WORDS = re.compile(
    r"reboot: (?:Power down|System halted)|^(?:\[ *\d+\.\d+\] )?(?:Power down|System halted)\.?$",
    re.IGNORECASE,
)
"""The kernel's, when nothing is mounted any more. An init's "Reached target Power-Off" comes before that."""


def state_of(lines: Sequence[str], *, after_user: bool = False) -> ConsoleState | None:
    """Returns what the lines show, None for nothing that is known.

    Args:
        lines: The last of them is the one that the cursor stands in.
        after_user: Whether a user's name was the last thing that was sent: whatever ends in a colon then asks
            for a password.
    """
    last = lines[-1][-_LONGEST:].strip() if lines else ""
    recent = [line[-_LONGEST:].rstrip() for line in lines[-12:] if line.strip()]
    if last:
        if _EMERGENCY.search(last):
            return ConsoleState.EMERGENCY
        if _LOGIN.search(last):
            return ConsoleState.LOGIN
        if _PASSWORD.search(last):
            return ConsoleState.PASSWORD
        if after_user and last.endswith((":", "\uff1a")) and not last.lower().endswith("last login:"):
            return ConsoleState.PASSWORD
        if _SHELL.search(last) and not _BOOT.search(last):
            return ConsoleState.SHELL
    if any(map(_PANIC.search, recent)):
        return ConsoleState.EMERGENCY
    if any(map(_BOOT.search, recent)):
        return ConsoleState.BOOTING
    return None


def asks_for_new_password(lines: Sequence[str]) -> bool:
    """Whether a login wants the password to be changed."""
    return any(_NEW_PASSWORD.search(line[:_LONGEST]) for line in lines)


def timed_out(lines: Sequence[str]) -> bool:
    """Whether a login says that it has waited for too long."""
    return any(_TIMED_OUT.search(line[:_LONGEST]) for line in lines)


def last_words(lines: Sequence[str]) -> str:
    """Returns the line with which a kernel says that the system is down, ``""`` where there is none."""
    return next((line.strip() for line in reversed(lines) if _LAST_WORDS.search(line[:_LONGEST])), "")
