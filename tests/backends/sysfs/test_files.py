"""The backend on real files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sysfs import plugin
from rpi_clusterhat_sysfs.files import Files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backends.sysfs.kernel import Programs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "gpio"
    files = {"gpiochip512": {"base": "512\n", "ngpio": "54\n", "label": "pinctrl-rp1\n"}}
    files["gpio518"] = {"direction": "in\n", "value": "1\n", "active_low": "0\n"}
    for folder, attributes in files.items():
        (root / folder).mkdir(parents=True)
        for name, text in attributes.items():
            (root / folder / name).write_text(text)
    (root / "export").touch()
    return root


def test_the_plugin_works_on_a_tree_of_files(programs: Programs, tree: Path) -> None:
    options = programs.opening((6,), root=f"{tree}/")
    plugin.check(options.options)
    bank = plugin.open(options)
    assert bank.holds_levels
    assert bank.read() == {6: True}
    bank.write({6: True})
    bank.close()
    assert (tree / "gpio518/direction").read_text() == "high"
    assert (tree / "export").read_text() == ""


def test_a_file_is_written_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Files().write(str(tmp_path / "export"), "5")
    assert list(tmp_path.iterdir()) == []
