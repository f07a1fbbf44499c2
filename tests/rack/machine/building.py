"""Builds what a rack's nodes are made of: a kernel, a disk, and a key to log in with.

python -m tests.rack.machine.building
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from rpi_clusterhat_sim.rack import built
from tests.built.kernel import TOOLS, compile_kernel, prepare
from tests.built.once import CannotBuildError, build_or_say_why, cached, is_built, run
from tests.kernel.lab.building import CONFIG

from .image import FILES, INPUTS, make_image

HERE = os.path.dirname(os.path.abspath(__file__))
OWN_CONFIG = os.path.join(HERE, "kernel.config")
NEEDED = {
    **TOOLS,
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
    "ssh-keygen": "openssh-client",
}
RECIPE = 1
"""To be counted up with a change of the steps below that makes another rack."""


def default_place() -> str:
    """Where the rack of this checkout lies, built or not: another for other inputs."""
    if place := os.environ.get("CLUSTERHAT_TEST_RACK"):
        return os.path.abspath(place)
    digest = hashlib.sha256(json.dumps([RECIPE, INPUTS]).encode())
    for path in (CONFIG, OWN_CONFIG, *_files(FILES)):
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return cached(f"rack-{digest.hexdigest()[:12]}")


def _files(folder: str) -> list[str]:
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def make(work: str) -> str:
    """Makes it all in the folder ``work``.

    Raises `CannotBuildError` or `subprocess.CalledProcessError`.
    """
    source = prepare(NEEDED)
    if os.geteuid() != 0:
        raise CannotBuildError("a node's disk is filled as root: sudo make rack")
    done = os.path.join(work, "done")
    os.mkdir(done)
    key = os.path.join(done, "key")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rack", "-f", key)
    with open(f"{key}.pub", encoding="utf-8") as file:
        public_key = file.read()
    make_image(work, public_key, os.path.join(done, "node.img"))
    kernel = compile_kernel(source, work, [CONFIG, OWN_CONFIG], "linux")
    kernel.install(os.path.join(done, "linux"))
    with open(os.path.join(done, "complete"), "w") as marker:
        marker.write(f"{kernel.source}\n")
    return done


def main() -> int:
    place = default_place()
    code = build_or_say_why("the rack", place, make)
    if is_built(place):
        _show(place)
    return code


def _show(place: str) -> None:
    """Leaves a link where the simulation looks for a rack."""
    link = built.default_place()
    draft = f"{link}.{os.getpid()}"
    os.symlink(place, draft)
    os.replace(draft, link)


if __name__ == "__main__":
    sys.exit(main())
