"""The command line: options, commands, help."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from rpi_clusterhat.errors import SettingError

from .output import PROGRAM, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = ["NODES", "OPTIONS", "SHELLS", "build_parser", "parse"]

_EXITS = """\
exit codes:
  0    done
  1    the hardware or the system does not let it be done
  2    asked wrongly: an option, a name, a settings file, a function that the board does not have
  130  ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; what was switched on until then stays on

What is not said here is taken from RPI_CLUSTERHAT_BOARD, _BACKEND, _OPTIONS, _SPACING ..., then from
the settings file (--config, RPI_CLUSTERHAT_CONFIG, ~/.config/rpi-clusterhat.toml, /etc/rpi-clusterhat.toml),
then from /etc/default/clusterctrl, and at last from what the HAT says of itself.
"""

NODES = "p1, p1 p3, p1,p3, p[1-3] or all"
OPTIONS = ("--help", "--version", "--backend", "--board", "--bus", "--address", "--spacing", "--config", "-o")
SHELLS = ("bash", "zsh", "tcsh")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Every argument that is added makes one, and without a width it imports shutil to find it."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(prog, **{"width": min(terminal_width(), 110) - 2, **kwargs})


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message} (see '{self.prog} --help')")


class _Shortcut(argparse.Action):
    """``--bus 2`` for ``-o bus=2``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Any = None,
    ) -> None:
        del parser
        namespace.option = [*namespace.option, f"{self.option_strings[0][2:]}={values}"]
        namespace.shortcuts = [*namespace.shortcuts, option_string]


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: must be seconds, a number from {low:g} to {high:g}")
        return value

    return parse


_watch = _seconds(0.1, 86400.0)
_wait = _seconds(0.1, 86400.0)
_pause = _seconds(0.0, 3600.0)


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'': must be the path of a settings file")
    return text


def _nodes(parser: argparse.ArgumentParser) -> None:
    nodes = parser.add_argument("nodes", nargs="*", metavar="NODES", help=NODES)
    nodes.complete = {"bash": "_rpi_clusterhat_nodes", "zsh": "(p1 p2 p3 p4 all)", "tcsh": "p"}  # type: ignore[attr-defined]


def _on(parser: argparse.ArgumentParser) -> None:
    _nodes(parser)
    _hold(parser)
    parser.add_argument(
        "--wait",
        nargs="?",
        type=_wait,
        const=120.0,
        metavar="SECONDS",
        help="return only when the nodes are ready, and wait so many seconds (120) at most",
    )


def _cycle(parser: argparse.ArgumentParser) -> None:
    _nodes(parser)
    _hold(parser)
    parser.add_argument("--pause", type=_pause, default=1.0, metavar="SECONDS", help="time without power (1)")


def _hold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hold",
        action="store_true",
        help="stay until Ctrl-C or SIGTERM: for a backend whose lines drop back when the program ends",
    )


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_watch,
        const=1.0,
        metavar="SECONDS",
        help="read each so many seconds (1) until Ctrl-C; prints changes, with --json every reading",
    )


def _on_off(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("on", "off"))


def _on_off_reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("on", "off", "reset"))


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def _nothing(parser: argparse.ArgumentParser) -> None:
    del parser


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "on": ("switch nodes on, one after the other", _on),
    "off": ("cut the power of nodes, all at once", _nodes),
    "cycle": ("switch nodes off and on again", _cycle),
    "status": ("what is on", _status),
    "init": ("set up the expander after it got power (on and off do so first)", _nothing),
    "alert": ("the ALERT LED", _on_off),
    "led": ("the nodes' LEDs", _on_off),
    "hub": ("the USB hub between the nodes and the controller", _on_off_reset),
    "wp": ("the write protection of the HAT's EEPROM", _on_off),
    "backends": ("the backends that are installed, and which can be used here", _nothing),
    "boards": ("the boards that are known, and which is fitted here", _nothing),
    "version": ("the version of this program", _nothing),
    "completion": ("a script that lets a shell complete this command", _shell),
}


def build_parser(commands: Collection[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The parser; with only some of the commands where it is known which one is meant."""
    parser = _Parser(
        prog=PROGRAM,
        description="Switches the nodes of a Raspberry Pi Cluster HAT.",
        epilog=_EXITS,
    )
    parser.set_defaults(shortcuts=[])
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {_version()}")
    add("--backend", metavar="NAME", help="gpiod, sysfs, i2c, sim or a plugin's (found out from the board)")
    add("--board", metavar="VERSION", help="version of the HAT, such as 2.3 (found out)")
    add("--bus", action=_Shortcut, help="short for -o bus=BUS: number or device of the I2C bus")
    add(
        "--address", action=_Shortcut, help="short for -o address=ADDRESS: that of the expander, such as 0x20"
    )
    add("--spacing", metavar="SECONDS", help="between two power-ups (2.0)")
    add("--config", metavar="FILE", type=_path, help="settings file, TOML")
    add(
        "-o",
        dest="option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the backend; may be repeated",
    )
    commands_of = parser.add_subparsers(
        title="commands (options stand before them)",
        dest="command",
        metavar="COMMAND",
        required=True,
        prog=PROGRAM,
    )
    for name in commands:
        summary, add_arguments = _COMMANDS[name]
        add_arguments(
            commands_of.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        )
    return parser


def _version() -> str:
    from rpi_clusterhat import __version__

    return __version__


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises `SettingError`, or `SystemExit` after ``--help`` and ``--version``."""
    command = next((word for word in argv if word in _COMMANDS), None)
    if command and "-h" not in argv and "--help" not in argv:
        # A dozen parsers take longer to build than a status takes to read.
        try:
            args, rest = build_parser([command]).parse_known_args(argv)
            if not rest:
                return args
        except SettingError:
            pass  # the whole parser says it better
    parser = build_parser()
    _check_options(argv)
    args, rest = parser.parse_known_args(argv)
    if rest:
        raise SettingError(_leftover(args.command, rest))
    return args


def _check_options(argv: Sequence[str]) -> None:
    """To argparse a wrong option's value is a wrong command."""
    for word in argv:
        if word in _COMMANDS:
            return
        if word.startswith("--") and word.partition("=")[0] not in OPTIONS:
            raise SettingError(f"there is no option {word!r}: there are {', '.join(OPTIONS)}")


def _leftover(command: str, rest: Sequence[str]) -> str:
    see = f"(see '{PROGRAM} {command} --help')"
    option = rest[0].partition("=")[0]
    if option in OPTIONS:
        return f"{option} stands before the command: {PROGRAM} {option} ... {command} {see}"
    return f"{command} takes no {rest[0]!r} {see}"
