"""The few things that are done with files here, in one place so that a test can be the kernel."""

from __future__ import annotations

import os

__all__ = ["Files"]


class Files:
    """Attributes of a sysfs tree. Every method raises `OSError` as the kernel does."""

    def names(self, folder: str) -> list[str]:
        return os.listdir(folder)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def writable(self, path: str) -> bool:
        return os.access(path, os.W_OK)

    def read(self, path: str) -> str:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()

    def write(self, path: str, text: str) -> None:
        """In one write: the kernel takes each as a command of its own."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)
