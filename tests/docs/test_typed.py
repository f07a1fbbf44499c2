"""Every page is a session that can be typed in one shell, top to bottom, and shows what comes then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import newcomer
from .newcomer import FROM_NOTHING
from .sessions import PAGES, Command, Setting, Skipped, steps
from .terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
NOT_TYPED = {
    ("CONTRIBUTING.md", "make test      # every check and test, side by side: what has to pass"),
    ("README.md", "make test   # every check and test"),
    ("docs/how-to/backend.md", "rpi-clusterhat --board 1.3 --backend leds -o prefix=relay on p1"),
    ("docs/how-to/boots.md", "journalctl -u rpi-clusterhat-proxy --grep quarantined"),
    (
        "docs/how-to/boots.md",
        'curl -X POST -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8081/nodes/p2/on',
    ),
    ("docs/how-to/clusterctrl.md", "rpi-clusterhat on p1"),
    ("docs/how-to/containers.md", "docker run --rm \\"),
    ("docs/how-to/hats.md", 'sudo "$(command -v rpi-clusterhat)" setup'),
    ("docs/how-to/hats.md", "rpi-clusterhat --bus 2 --address 0x21 status"),
    ("docs/how-to/hats.md", "cat /sys/module/pinctrl_*/parameters/persist_gpio_outputs"),
    ("docs/how-to/hats.md", "rpi-clusterhat --board 2.3 --bus 2 status"),
    ("docs/how-to/logging.md", "journalctl -u rpi-clusterhat-proxy -f"),
    ("docs/how-to/on-demand.md", "cat /sys/class/net/ethpi3/statistics/rx_bytes"),
    ("docs/how-to/proxy.md", "sudo useradd --system --no-create-home clusterhat"),
    ("docs/how-to/proxy.md", "ssh -L 8081:127.0.0.1:8081 controller.local"),
    ("docs/how-to/systemd.md", "sudo useradd --system --no-create-home clusterhat"),
    ("docs/how-to/systemd.md", "sudo systemctl daemon-reload"),
    ("docs/how-to/troubleshooting.md", 'sudo "$(command -v rpi-clusterhat)" setup'),
    ("docs/how-to/troubleshooting.md", "sudo apt install i2c-tools"),
    (
        "docs/how-to/troubleshooting.md",
        'docker run --device /dev/i2c-1 --group-add "$(stat -c %g /dev/i2c-1)" my-image',
    ),
    ("docs/how-to/troubleshooting.md", "gpioinfo | grep rpi-clusterhat"),
    ("docs/how-to/troubleshooting.md", "rpi-clusterhat --backend sysfs status"),
    ("docs/how-to/troubleshooting.md", "rpi-clusterhat --backend gpiod -o chip=1-0020 status"),
    ("docs/how-to/troubleshooting.md", "sudo fuser -v /run/rpi-clusterhat/rpi-clusterhat.rail-main.lock"),
    ("docs/how-to/troubleshooting.md", "sudo apt install avahi-daemon libnss-mdns"),
    ("docs/how-to/ssh.md", "python examples/ssh_nodes.py p1.local p2.local"),
    ("docs/how-to/ssh.md", "ssh-keygen -t ed25519"),
    ("docs/how-to/ssh.md", "rm ~/.local/state/rpi-clusterhat/host-keys/p1"),
    ("docs/reference/command.md", "rpi-clusterhat run all -- uname -sr"),
}
"""The blocks that need what a test machine does not have, by their first lines."""

ON_THE_SIMULATION = {
    "docs/how-to/boots.md",
    "docs/how-to/hats.md",
    "docs/how-to/proxy.md",
    "docs/how-to/troubleshooting.md",
}
"""Pages on a HAT: the simulation takes its place."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """The home of somebody who has typed the tutorial's installation."""
    folder = tmp_path_factory.mktemp("installed")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    install = text[: text.index("\n## ", text.index("## Install") + 1)]
    newcomer.checkout(folder / "checkout")
    with Terminal(folder / "checkout", newcomer.environment(folder / "home", wheels)) as terminal:
        newcomer.follow(terminal, steps(install), folder / "checkout")
    return folder / "home"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        page
        for page, found in PAGES.items()
        if page not in FROM_NOTHING and any(isinstance(step, Command) for step in found)
    ],
)
def test_a_page_can_be_typed(page: str, wheels: Path, installed: Path, tmp_path: Path) -> None:
    folder, home = tmp_path / "checkout", tmp_path / "home"
    newcomer.checkout(folder)
    variables = newcomer.environment(home, wheels)
    newcomer.move(installed / "clusterhat", home / "clusterhat")
    with Terminal(folder, variables) as terminal:
        terminal.type(". ~/clusterhat/bin/activate\n")
        newcomer.follow(terminal, PAGES[page], folder)
        assert terminal.left(10) == [], "the page leaves programs running"


def test_which_blocks_are_not_typed() -> None:
    found = {(page, step.first) for page in PAGES for step in PAGES[page] if isinstance(step, Skipped)}
    assert found == NOT_TYPED, "can it be typed here after all, or on the simulation?"


def test_which_pages_are_typed_on_the_simulation() -> None:
    found = {(page, step) for page in PAGES for step in PAGES[page] if isinstance(step, Setting)}
    assert found == {(page, Setting("RPI_CLUSTERHAT_BACKEND", "sim")) for page in ON_THE_SIMULATION}


@pytest.mark.parametrize("page", PAGES)
def test_what_looks_like_a_session_is_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} <= {"console", "sh", "python", "ini", "toml", "yaml", "text"}
    assert not [text for language, text in blocks if language == "text" and re.search(r"^ *\$ ", text)]
    assert text.count("not typed:") == sum(isinstance(step, Skipped) for step in PAGES[page])
    assert text.count("typed with ") == sum(isinstance(step, Setting) for step in PAGES[page])
