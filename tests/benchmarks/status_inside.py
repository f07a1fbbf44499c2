"""Run inside the kernel lab as root: ``status`` of our command (first argument) in turn with the command line
that follows, on one expander."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.benchmarks.report import in_turn

SETTINGS = "TYPE=c\nCLUSTERHAT_FORCE=2.3\n"


def main(ours: str, theirs: list[str]) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/default"], check=True)
    with open("/etc/default/clusterctrl", "w", encoding="ascii") as file:
        file.write(SETTINGS)
    module = next(f for f in os.listdir(os.environ["LAB_MODULES"]) if f.endswith(".ko") and "stub" not in f)
    subprocess.run(["insmod", os.path.join(os.environ["LAB_MODULES"], module)], check=True)
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)

    run([ours, "init"])
    mine, vendors, ratio = in_turn(lambda: run([ours, "status"]), lambda: run(theirs), runs=15)
    print(json.dumps({"ours": mine, "theirs": vendors, "ratio": ratio}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
