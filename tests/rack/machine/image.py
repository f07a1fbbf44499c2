"""Makes the disk of a rack's node: a Debian with systemd, ssh, Node.js, Python and a login on its console."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from glob import glob

from tests.built.once import CannotBuildError, run
from tests.pi.machine.packages import TARGETS, debian_sources

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node")
"""What is put over the system, by its path there."""
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo"),
    *("iproute2", "iputils-ping", "procps", "python3-minimal", "nodejs", "ca-certificates"),
)
PASSWORDS = {"root": "hat", "pi": "raspberry"}
"""Users who can log in; also with the key. They are for tests, and reachable from this machine only."""
ENABLED = ("ssh", "ssh-host-key", "hello", "serial-getty@ttyS0")
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "systemd-pstore.service"),
)
SIZE = "1G"
"""Of the disk, which takes as much as is on it."""
TIME = "1700000000"
"""When its file system was made, in seconds since 1970, so that two that are made are alike."""
UUID, SEED = "0c1a5e00-0000-4000-8000-000000000001", "0c1a5e00-0000-4000-8000-000000000002"

INPUTS = (PACKAGES, PASSWORDS, ENABLED, MASKED, SIZE, TIME, UUID, SEED)
"""What makes another image when it changes, with the `FILES`."""


def make_image(work: str, public_key: str, image: str) -> None:
    """Makes the file ``image``, with a folder to work in.

    Raises `CannotBuildError` or `subprocess.CalledProcessError`.
    """
    root = os.path.join(work, "root")
    release, mirror = _source()
    # What it mounts is gone with the namespace, whatever becomes of it.
    run(
        *("unshare", "--mount", "--", _tool("debootstrap")),
        *("--variant=minbase", f"--include={','.join(PACKAGES)}", release, root, mirror),
    )
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    _set_up(root, public_key)
    for path in (
        *glob(f"{root}/var/cache/apt/archives/*.deb"),
        *glob(f"{root}/var/lib/apt/lists/*_*"),
        *glob(f"{root}/etc/ssh/ssh_host_*"),
    ):
        os.remove(path)
    run(
        *(_tool("mke2fs"), "-q", "-t", "ext4", "-L", "rack", "-U", UUID),
        *("-E", f"hash_seed={SEED},root_owner=0:0", "-d", root, image, SIZE),
        environment={**os.environ, "E2FSPROGS_FAKE_TIME": TIME},
    )
    os.chmod(image, 0o444)


def _source() -> tuple[str, str]:
    """Debian's release and mirror that this machine uses. Raises `CannotBuildError` where it has none."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in debian_sources(done.stdout, f"{release}-backports"):
        mirror, name, _ = line.split()[-3:]
        if name == release:
            return release, mirror
    raise CannotBuildError(f"apt has no source of Debian's {release} here")


def _set_up(root: str, public_key: str) -> None:
    inside = ("chroot", root)
    run(*inside, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "adm,dialout", "pi")
    for user, password in PASSWORDS.items():
        known = f"{user}:{password}\n"
        subprocess.run([*inside, "chpasswd"], input=known, text=True, check=True)
        home = f"{root}/root" if user == "root" else f"{root}/home/{user}"
        os.makedirs(f"{home}/.ssh", exist_ok=True)
        os.chmod(f"{home}/.ssh", 0o700)
        with open(f"{home}/.ssh/authorized_keys", "w", encoding="utf-8") as file:
            file.write(public_key)
    run(*inside, "chown", "-R", "pi:pi", "/home/pi/.ssh")
    os.chmod(f"{root}/etc/sudoers.d/pi", 0o440)
    os.remove(f"{root}/etc/hostname")  # the kernel's command line names a node
    run(*inside, "systemctl", "--quiet", "enable", *ENABLED)
    run(*inside, "systemctl", "--quiet", "mask", *MASKED)


def _tool(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or name
