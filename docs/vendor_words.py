"""The table of the vendor's commands that are none here, from the command's own."""

from __future__ import annotations

from rpi_clusterhat.cli.vendor_words import WORDS


def markdown() -> str:
    rows = [
        f"| `clusterctrl {word}` | {does} | {_code(instead)} |" for word, (does, instead) in WORDS.items()
    ]
    return "\n".join(["| vendor's tool | what it does | here |", "| --- | --- | --- |", *rows])


def _code(text: str) -> str:
    return text.replace("'", "`")
