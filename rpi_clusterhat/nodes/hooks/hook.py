"""What a hook is, and how the fields of a node are filled into its texts."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import CommandTimeoutError, NodeAccessError, SettingError
from rpi_clusterhat.waiting import drive, drive_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.waiting import Steps

__all__ = ["FIELDS", "Hook", "RefusedError", "Template"]

FIELDS = ("name", "host", "number")
"""What can be filled in: the node's name, its host name or address, and its number on the controller."""


class RefusedError(NodeAccessError):
    """A hook was asked and says no. The text is its reason."""


class Hook:
    """Something that is asked about a node: to halt it, or whether it may be halted.

    A hook may be used from any thread and any event loop, and by several at once.

    The fields of the node are given as named arguments, as far as the hook has them in braces: ``name``,
    ``host`` and ``number``.
    """

    __slots__ = ("timeout",)

    def __init__(self, timeout: float) -> None:
        self.timeout = validate.seconds("timeout", timeout, above=True)

    def run(self, **fields: str | int) -> None:
        """Asks the hook to do what it is for, with blocking calls.

        Args:
            fields: The node's.

        Raises:
            NodeAccessError: It was not done. The text says why, in the hook's last words.
            SettingError: A field is missing.
        """
        drive(self.steps_run(fields, self._all_of_it))

    async def arun(self, **fields: str | int) -> None:
        """Asks the hook to do what it is for, in the running event loop. Otherwise it is as `run`."""
        await drive_async(self.steps_run(fields, self._all_of_it))

    def steps_run(self, fields: Mapping[str, str | int], left: Callable[[], float]) -> Steps[None]:
        """Returns the steps of `run`, for code that is itself a generator of steps.

        Args:
            fields: As for `run`.
            left: Returns how many seconds it may take at most, counted from the call of ``left``.
        """
        return self._ask(fields, left)

    def refusal(self, **fields: str | int) -> str | None:
        """Asks the hook whether something may be done with the node, with blocking calls.

        Args:
            fields: The node's.

        Returns:
            None where it may; else the reason.

        Raises:
            NodeAccessError: The hook could not be asked, or failed.
            SettingError: A field is missing.
        """
        return drive(self.steps_refusal(fields, self._all_of_it))

    async def arefusal(self, **fields: str | int) -> str | None:
        """Asks the hook whether something may be done, in the running event loop. It is as `refusal`."""
        return await drive_async(self.steps_refusal(fields, self._all_of_it))

    def steps_refusal(self, fields: Mapping[str, str | int], left: Callable[[], float]) -> Steps[str | None]:
        """Returns the steps of `refusal`, for code that is itself a generator of steps. See `steps_run`."""
        try:
            yield from self._ask(fields, left)
        except RefusedError as refused:
            return str(refused)
        return None

    def _all_of_it(self) -> float:
        return self.timeout

    def _ask(self, fields: Mapping[str, str | int], left: Callable[[], float]) -> Steps[None]:
        seconds = min(self.timeout, left())
        if seconds <= 0:
            raise NodeAccessError(f"No time was left to ask {self.target}")
        try:
            yield from self._answer(fields, SYSTEM.now() + seconds)
        except TimeoutError:
            raise CommandTimeoutError(f"{self.target} did not end within {seconds:.3g} s") from None

    @property
    def target(self) -> str:
        """What is asked, as texts name it."""
        raise NotImplementedError

    def _answer(self, fields: Mapping[str, str | int], deadline: float) -> Steps[None]:
        """Makes the steps that ask. They raise `RefusedError`, another `NodeAccessError`, or TimeoutError."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target}>"


class Template:
    """A text with fields of a node in braces; a brace itself is written twice.

    Raises:
        SettingError: It names another field, or its braces do not match.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, setting: str, text: str) -> None:
        try:
            self._parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise validate.invalid(setting, text, f"braces that match ({error})") from None
        self.text = text
        for _, field, spec, conversion in self._parts:
            if field is not None and (field not in FIELDS or spec or conversion):
                known = ", ".join(f"{{{known}}}" for known in FIELDS)
                raise validate.invalid(
                    setting, text, f"no fields but {known}; a brace itself as {{{{ or }}}}"
                )

    def filled(self, fields: Mapping[str, str | int], quote: Callable[[str], str] = str) -> str:
        """Returns the text with the node's fields, each as ``quote`` writes it. Raises `SettingError`."""
        texts: list[str] = []
        for literal, field, _, _ in self._parts:
            texts.append(literal)
            if field is not None:
                if field not in fields:
                    raise SettingError(f"A hook needs the node's {field}, which is not known")
                texts.append(quote(str(fields[field])))
        return "".join(texts)
