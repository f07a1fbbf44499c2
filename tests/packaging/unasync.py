"""Makes rpi_clusterhat/cluster.py from rpi_clusterhat/aio.py: ``python tests/packaging/unasync.py``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "rpi_clusterhat"
SOURCE = LIBRARY / "aio.py"
TWIN = LIBRARY / "cluster.py"

TEXTS = [  # what only one of the two says; each must be there
    (
        '''"""`AsyncCluster` and `AsyncNode`: the front door for asyncio.

Accesses to the hardware run in worker threads, waiting in the event loop. `rpi_clusterhat.cluster` is made
from this file by ``make twins``: change this one.
"""''',
        '''"""`Cluster` and `Node`: the front door.

Made from aio.py by ``make twins``: change that one.
"""''',
    ),
    ("Cluster HATs, for asyncio.\n", "Cluster HATs.\n"),
    (
        """ All methods belong to one event loop; subscribers are called in it. A
    cancelled task leaves the nodes in a state that the next look reports truthfully: what was on stays on,
    what waited goes no further.
""",
        """ All methods may be called from any thread; those that
    switch on wait for the rail and let others work meanwhile.
""",
    ),
    ("The open cluster: of ``await``, or of ``async with``, which also closes it.", "The open cluster."),
    (" Belongs to the cluster's event loop.", " May be used from any thread."),
    ("from ._async_open import AsyncOpener\n", ""),
    ("-> AsyncOpener[Self]:", "-> Self:"),
    ("        return await drive_async(call(function))\n", "        return function()\n"),
    ("from .waiting import call, drive_async\n", "from .waiting import drive_async\n"),
    ("AsyncOpener(partial(cls._open, given, config, clock))", "cls._open(given, config, clock)"),
]
PROPERTIES = "powered|state|is_on"
PATTERNS = [
    (rf"async def ({PROPERTIES})\(self\)", r"@property\n    def \1(self)"),
    (rf"await self\.({PROPERTIES})\(\)", r"self.\1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsyncGenerator\[(.*)\]:", r"Generator[\1]:"),
    (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
    (r"\bAsyncGenerator, Callable\b", "Callable, Generator"),
    (r"\bdrive_async\b", "drive"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\bAsync(Cluster|Node|Function|Hub|Console)\b", r"\1"),
    (r"\bconsole_async\b", "console"),
]


def twin(source: str) -> str:
    """The synchronous code that the asynchronous one stands for."""
    for before, after in TEXTS:
        if source.count(before) != 1:
            raise SystemExit(f"{SOURCE.name} has this {source.count(before)} times: {before!r}")
        source = source.replace(before, after)
    for pattern, replacement in PATTERNS:
        source = re.sub(pattern, replacement, source)
    names = re.search(r"__all__ = \[\n(.*?)\]\n", source, re.DOTALL)
    assert names
    source = source.replace(names[1], "".join(sorted(names[1].splitlines(keepends=True))))
    formatter = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(TWIN), "-"]
    return subprocess.run(formatter, input=source, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    TWIN.write_text(twin(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
