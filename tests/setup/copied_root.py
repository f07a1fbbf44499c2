"""A copy of this machine's root in a mount namespace of its own, in which everything can be changed.

    unshare --mount --propagation private python copied_root.py FOLDER [OPTIONS]

It has a ``/etc`` of its own with the users alice and mallory and without the groups gpio and i2c, an empty
``/run`` and ``/tmp``, and no mark of a container; the rest is this machine's. All users can use
this Python and the library. It says "ready", and lasts until its standard input ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

OWN = {"etc", "run", "tmp"}
CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
USERS = {"alice": 42001, "mallory": 42003}


LOCKS = "/run/rpi-clusterhat"


def build(root: str, hidden: list[str], run: str | None, shared: str | None) -> None:
    mount("-t", "tmpfs", "-o", "mode=755", "root", root)
    for name in os.listdir("/"):
        there, here = f"/{name}", f"{root}/{name}"
        if os.path.islink(there):
            os.symlink(os.readlink(there), here)
        elif os.path.isdir(there):
            os.mkdir(here)
            if name not in OWN:
                mount("--rbind", there, here)
    os.rmdir(f"{root}/etc")
    subprocess.run(["cp", "--archive", "/etc", root], check=True)
    shutil.rmtree(f"{root}/etc/udev/rules.d", ignore_errors=True)
    os.chmod(f"{root}/tmp", 0o1777)
    for folder in dict.fromkeys((sys.base_prefix, sys.prefix, CHECKOUT)):
        open_to_all(root, folder)
    for path in hidden:
        if os.path.exists(root + path):
            mount("--bind", "/dev/null", root + path)
    if run is not None:
        mount("--bind", run, f"{root}/run")
    if shared is not None:
        os.mkdir(root + LOCKS)
        mount("--bind", shared, root + LOCKS)
    for name in ("group", "gshadow", "passwd"):
        with open(f"{root}/etc/{name}") as file:
            kept = [line for line in file if line.partition(":")[0] not in ("gpio", "i2c", *USERS)]
        with open(f"{root}/etc/{name}", "w") as file:
            file.writelines(kept)
    for user, number in USERS.items():
        add(f"{root}/etc/passwd", f"{user}:x:{number}:{number}::/tmp:/bin/sh")
        add(f"{root}/etc/group", f"{user}:x:{number}:")


def open_to_all(root: str, folder: str) -> None:
    """Lets ordinary users reach a folder that lies in a private one, or where the copy has one of its own.

    A Python in root's home is such a folder, and a checkout in /tmp.
    """
    private = ""
    for above in map(str, Path(folder).parents):
        if not os.stat(above).st_mode & 0o001:
            private = above
    if private or folder.split("/")[1] in OWN:
        if private and not os.path.ismount(root + private):
            os.makedirs(root + private, exist_ok=True)
            mount("-t", "tmpfs", "-o", "mode=755", "cover", root + private)
        os.makedirs(root + folder, exist_ok=True)
        mount("--bind", folder, root + folder)


def add(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(f"{line}\n")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--hide", action="append", default=[], help="a program that is not to be there")
    parser.add_argument("--run", help="a folder that is to be /run")
    parser.add_argument("--share", help="a folder that is to be that of the locks, as for a container")
    given = parser.parse_args()
    build(given.root, given.hide, given.run, given.share)
    os.chroot(given.root)
    os.chdir("/")
    print("ready", flush=True)
    sys.stdin.read()
