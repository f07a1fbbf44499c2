"""``make bench``: measures everything and prints one table. Exits with 1 where a promise is not kept."""

from __future__ import annotations

import sys

from tests.benchmarks import commands, expander, nodes, pool, proxy, rail, routing
from tests.benchmarks.report import Row, show

SECTIONS = (
    expander.measure,
    rail.measure,
    routing.measure,
    pool.measure,
    nodes.measure,
    proxy.measure,
    commands.measure,
)


def main() -> int:
    rows: list[Row] = []
    for measure in SECTIONS:
        for row in measure():
            rows.append(row)
            print(f"  {row.what}: {row.measured}", file=sys.stderr, flush=True)
    print(show(rows))
    return 0 if all(row.kept is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
