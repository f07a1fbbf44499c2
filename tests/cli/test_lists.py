"""``backends``, ``boards`` and ``completion``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.cli.parser import SHELLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from tests.cli.conftest import Command

    Install = Callable[[str, str, str], None]


def rows(command: Command, *argv: str) -> dict[str, str]:
    """The lines of ``backends`` by their first word."""
    result = command(*argv, "backends")
    assert (result.code, result.err) == (0, "")
    head, *lines = result.out.splitlines()
    assert head.split() == ["name", "distribution", "here"]
    return {line.split()[0]: line for line in lines}


NUMBER = count()
"""Python keeps modules by name: each test's has its own."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a plugin of a stranger's distribution on the import path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def put(distribution: str, name: str, code: str) -> None:
        module = f"stranger_{distribution}_{next(NUMBER)}"
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rpi_clusterhat.backends]\n{name} = {module}:plugin\n")

    return put


def test_the_built_in_backends(command: Command, expander: FakeExpander) -> None:
    found = rows(command)
    assert {"gpiod", "i2c", "sim", "sysfs"} <= set(found)
    for name in ("i2c", "sim"):
        assert found[name].split()[1:3] == ["rpi-clusterhat", "yes"]
    assert "expander" in found["i2c"]
    assert expander.writes == 0


def test_why_a_backend_cannot_be_used(command: Command, expander: FakeExpander) -> None:
    expander.fail(times=None)
    found = rows(command)
    assert found["i2c"].split()[2] == "no"
    assert "0x20" in found["i2c"]


def test_a_package_that_is_missing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbus2", None)
    found = rows(command)
    assert found["i2c"].split()[2] == "no"
    assert "pip install 'smbus2>=0.4.3'" in found["i2c"]


def test_options_apply_to_the_backends_that_have_them(command: Command, expander: FakeExpander) -> None:
    assert rows(command, "--address", "0x21")["i2c"].split()[2] == "no"
    assert rows(command, "--address", "0x20")["i2c"].split()[2] == "yes"
    assert rows(command, "--backend", "sim", "-o", "boot_time=3")["i2c"].split()[2] == "yes"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-o", "speed=3"], ("-o", "'speed'")),
        (["--bus", "two"], ("--bus", "'two'", "0 to 1023")),
        (["--backend", "i2c", "-o", "state=x"], ("'state'", "bus, address")),
    ],
)
def test_options_that_are_wrong(
    command: Command, expander: FakeExpander, argv: list[str], words: tuple[str, ...]
) -> None:
    result = command(*argv, "backends")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in result.err


def test_a_strangers_backend(command: Command, install: Install) -> None:
    code = (
        "from rpi_clusterhat.hardware.backend import Plugin\nplugin = Plugin('relays\\nof mine', (), None)\n"
    )
    install("relays", "relays", code)
    row = rows(command)["relays"]
    assert row.split() == ["relays", "relays", "yes", "relays", "of", "mine"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no\\nluck')", "no luck"),
        ("raise SystemExit('gone')", "gone"),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("something = 1", "plugin"),
        ("plugin = 1", "not a Plugin"),
        ("def", "invalid syntax"),
        (
            (
                "from rpi_clusterhat.hardware.backend import Plugin\n"
                "def check(options): return 1 / 0\n"
                "plugin = Plugin('mine', (), None, check)"
            ),
            "division by zero",
        ),
    ],
)
def test_a_broken_plugin_is_a_row_with_its_reason(
    command: Command, install: Install, code: str, reason: str
) -> None:
    install("broken", "broken", code)
    found = rows(command)
    assert found["broken"].split()[1:3] == ["broken", "no"]
    assert reason in found["broken"]
    assert "sim" in found


def test_two_distributions_with_one_name(command: Command, install: Install) -> None:
    install("relays", "sim", "plugin = 1")
    result = command("backends")
    lines = [line for line in result.out.splitlines() if line.startswith("sim ")]
    assert len(lines) == 2
    for line in lines:
        assert "relays" in line
        assert "uninstall one of them" in line


def test_boards(command: Command, tmp_path: Path) -> None:
    result = command("boards")
    assert (result.code, result.err) == (0, "")
    *table, fitted = result.out.splitlines()
    assert [line.split("  ")[0] for line in table] == ["version", "1.x", "2.0", "2.1 and later", "3.x"]
    assert "p1=6 p2=13 p3=19 p4=26 alert=5" in table[1]
    assert "hub=5 wp=7" in table[2]
    assert "hub=/5 wp=7" in table[3]
    assert fitted.startswith("fitted here: none found: no HAT")


def test_the_board_that_is_fitted(command: Command, tmp_path: Path) -> None:
    (tmp_path / "hat").mkdir()
    (tmp_path / "hat" / "product").write_bytes(b"ZC4:ClusterHAT\0")
    (tmp_path / "hat" / "product_ver").write_bytes(b"0x0023\0")
    assert command("boards").out.splitlines()[-1] == "fitted here: 2.3"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(command: Command, tmp_path: Path, shell: str) -> None:
    result = command("completion", shell)
    assert (result.code, result.err) == (0, "")
    for word in ("status", "cycle", "backend", "watch", *(["p1 p2 p3 p4 all"] if shell != "tcsh" else [])):
        assert word in result.out
    if program := shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(result.out)
        subprocess.run([program, "-n", str(script)], check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sta"], ["status"]),
        (["on", "p"], ["p1", "p2", "p3", "p4"]),
        (["hub", "r"], ["reset"]),
        (["status", "--w"], ["--watch"]),
    ],
)
def test_bash_completes(command: Command, tmp_path: Path, words: list[str], expected: list[str]) -> None:
    script = tmp_path / "script"
    script.write_text(
        command("completion", "bash").out
        + f"\nCOMP_WORDS=(rpi-clusterhat {' '.join(words)}); COMP_CWORD={len(words)}\n"
        + "$(complete -p rpi-clusterhat | sed 's/.*-F \\([^ ]*\\).*/\\1/') rpi-clusterhat\n"
        + 'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected, done.stderr


def test_completion_without_shtab(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    result = command("completion", "bash")
    assert (result.code, result.out) == (1, "")
    assert result.err == "rpi-clusterhat: completion needs shtab: pip install 'shtab>=1.7'\n"
