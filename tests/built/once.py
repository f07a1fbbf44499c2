"""What tests build once into the user's cache, for all checkouts that need the same."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CANNOT = 3
"""The exit code where something cannot be built on this machine, as opposed to a build that failed."""


class CannotBuildError(Exception):
    """This machine lacks what a build needs; the text says what."""


def cached(name: str) -> str:
    """A place in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "rpi-clusterhat", name)


def is_built(place: str) -> bool:
    return os.path.exists(os.path.join(place, "complete"))


def build_once(place: str, make: Callable[[str], str]) -> None:
    """Makes ``place``, which appears whole or not at all, unless it is there.

    Args:
        place: A folder. Who comes second waits for the first.
        make: Gets an empty folder to work in, and returns one inside it that holds the file ``complete``.

    Raises:
        CannotBuildError: This machine lacks something, as `make` says.
        subprocess.CalledProcessError: A step failed.
    """
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits and finds it built
        if is_built(place):
            return
        work = f"{place}.building"
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        os.mkdir(work)
        try:
            done = make(work)
            shutil.rmtree(place, ignore_errors=True)
            os.rename(done, place)
        finally:
            shutil.rmtree(work)


def build_or_say_why(what: str, place: str, make: Callable[[str], str]) -> int:
    """Builds as `build_once` does, and prints the place. Returns an exit code.

    Args:
        what: For people, with its article.
        place: As for `build_once`.
        make: As for `build_once`.
    """
    if not is_built(place):
        print(f"building {what} in {place}: a few minutes, once", file=sys.stderr)
    try:
        build_once(place, make)
    except CannotBuildError as error:
        print(f"{what} cannot be built here: {error}", file=sys.stderr)
        return CANNOT
    except subprocess.CalledProcessError as error:
        print(f"{what} was not built: {error}", file=sys.stderr)
        return 1
    print(place)
    return 0


def run(*command: str, environment: dict[str, str] | None = None) -> None:
    """Runs a step, whose output goes to standard error."""
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
