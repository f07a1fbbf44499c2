"""The command line: options, commands, help."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings.library import OPTIONS
from rpi_clusterhat.settings.sources import Given, Origin, parse_pairs

from .output import PROGRAM, Told, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from rpi_clusterhat.settings.sources import Layer

__all__ = ["NODES", "SHELLS", "build_parser", "parse"]

_EXITS = """\
exit codes:
  0    done
  1    the hardware or the system does not let it be done, or the output cannot be written
  2    usage error: an option, a name, a settings file, a function that the board does not have
  130  ended by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; what was switched on until then stays on
  141  nobody reads the output any more

Settings that no option gives are taken from RPI_CLUSTERHAT_BOARD, _BACKEND, _OPTIONS, _SPACING ..., then
from the settings file (--config, RPI_CLUSTERHAT_CONFIG, ~/.config/rpi-clusterhat.toml,
/etc/rpi-clusterhat.toml), then from /etc/default/clusterctrl, and last from the HAT's own description.
'rpi-clusterhat settings' shows what is in force, and where it comes from.
"""

NODES = "p1, p1 p3, p1,p3, p[1-3] or all"
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

    def _print_message(self, message: str, file: object = None) -> NoReturn:
        # argparse's own hides that the output could not be written.
        del file
        raise Told(message)


class _Setting(argparse.Action):
    """Keeps a setting, with the option that gave it. It counts before and after the command alike."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser, namespace
        self.const[self.dest] = Given(values, Origin("option", option_string or ""))


class _Pair(_Setting):
    """Keeps an option of the backend: ``-o bus=2``, or ``--bus 2`` for short."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser, namespace
        origin = Origin("option", option_string or "")
        pairs = parse_pairs([values], origin) if self.dest == "options" else {self.dest: values}
        kept: dict[str, Given] = self.const.setdefault("options", Given({}, origin)).value
        kept.update({key: Given(value, origin) for key, value in pairs.items()})


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"invalid value {text!r}: expected seconds from {low:g} to {high:g}"
            )
        return value

    return parse


_watch = _seconds(0.1, 86400.0)
_wait = _seconds(0.1, 86400.0)
_pause = _seconds(0.0, 3600.0)


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
    _now(parser.add_argument)
    parser.add_argument("--pause", type=_pause, default=1.0, metavar="SECONDS", help="time without power (1)")


def _off(parser: argparse.ArgumentParser) -> None:
    _nodes(parser)
    _hold(parser)
    how = parser.add_mutually_exclusive_group()
    _now(how.add_argument)
    how.add_argument(
        "--no-cut",
        action="store_true",
        help="leave the power on where a node is not down within halt_timeout, and fail",
    )


def _now(add: Callable[..., object]) -> None:
    add(
        "--now",
        action="store_true",
        help="cut the power at once, without a halt: files that are being written may be lost",
    )


def _hold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hold",
        action="store_true",
        help="stay until Ctrl-C or SIGTERM: for a backend whose lines drop back when the program ends",
    )


def _status(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_watch,
        const=1.0,
        metavar="SECONDS",
        help="read each so many seconds (1) until Ctrl-C; prints changes, with --json every reading",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one line of JSON")


def _on_off(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("on", "off"))


def _on_off_reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("on", "off", "reset"))


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def _setup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user",
        action="append",
        metavar="NAME",
        help="who is to switch nodes, by default who has called sudo; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is to be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="go ahead without a question")


def _console(parser: argparse.ArgumentParser) -> None:
    node = parser.add_argument("node", metavar="NODE", help="p1, p2 ...")
    node.complete = {"bash": "_rpi_clusterhat_nodes", "zsh": "(p1 p2 p3 p4)", "tcsh": "p"}  # type: ignore[attr-defined]
    parser.add_argument("--device", metavar="PATH", help="the console, where it is not the usual one")
    parser.add_argument("--watch", action="store_true", help="only read: nothing that is typed is sent")
    parser.add_argument("--once", action="store_true", help="end when the node goes away, instead of waiting")
    parser.add_argument("--transcript", metavar="FILE", help="append what the node writes to this file")
    parser.add_argument(
        "--escape",
        default="^]",
        metavar="KEY",
        help="key before a command to this program (^]); none for none",
    )


def _run(parser: argparse.ArgumentParser) -> None:
    _nodes(parser)
    parser.usage = f"{PROGRAM} [OPTIONS] run NODES [OPTIONS] -- COMMAND ..."
    _json(parser)
    parser.add_argument(
        "--timeout",
        type=_watch,
        default=60.0,
        metavar="SECONDS",
        help="for all of it, then a node is given up (60)",
    )
    parser.add_argument(
        "--by", choices=("ssh", "console"), help="how nodes are reached (the first that halts them, or ssh)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--fold",
        action="store_true",
        default=None,
        help="show equal outputs once, when all have ended (on a terminal)",
    )
    how.add_argument(
        "--no-fold",
        action="store_false",
        dest="fold",
        help="show each node's output, as soon as it has ended (elsewhere)",
    )


def _nothing(parser: argparse.ArgumentParser) -> None:
    del parser


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "on": ("switch nodes on, one after the other", _on),
    "off": ("halt nodes where there is a way to, and cut their power", _off),
    "cycle": ("switch nodes off and on again", _cycle),
    "status": ("what is on", _status),
    "run": ("run a command on nodes, side by side", _run),
    "console": ("attach the terminal to a node's console", _console),
    "setup": ("make this machine ready: groups, folder of locks, udev rules, I2C", _setup),
    "init": ("set up the expander after it got power (on and off do so first)", _nothing),
    "alert": ("the ALERT LED", _on_off),
    "led": ("the nodes' LEDs", _on_off),
    "hub": ("the USB hub between the nodes and the controller", _on_off_reset),
    "wp": ("the write protection of the HAT's EEPROM", _on_off),
    "backends": ("the backends that are installed, and which can be used here", _nothing),
    "boards": ("the boards that are known, and which is fitted here", _nothing),
    "settings": ("the settings that are in force, and where each comes from", _json),
    "version": ("the version of this program", _nothing),
    "completion": ("a script that lets a shell complete this command", _shell),
}


def _settings_parser(kept: Layer) -> _Parser:
    """The options that give settings, which stand before the command or after it."""
    parser = _Parser(prog=PROGRAM, add_help=False, argument_default=argparse.SUPPRESS)
    add = parser.add_argument_group("settings").add_argument
    for name, found in (("backend", "found out from the board"), ("board", "found out"), ("spacing", "2.0")):
        option = OPTIONS[name]
        help_ = f"{option.help} ({found})"
        add(option.flag, action=_Setting, const=kept, metavar=option.metavar, help=help_)
    add("--config", action=_Setting, const=kept, metavar="FILE", help="settings file, TOML")
    option = OPTIONS["options"]
    add(*option.flags, dest="options", action=_Pair, const=kept, metavar=option.metavar, help=option.help)
    add("--bus", action=_Pair, const=kept, help="short for -o bus=BUS: number or device of the I2C bus")
    add(
        "--address",
        action=_Pair,
        const=kept,
        help="short for -o address=ADDRESS: of the expander, such as 0x20",
    )
    return parser


def build_parser(commands: Collection[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The parser; with only some of the commands where it is known which one is meant."""
    kept: Layer = {}
    settings = _settings_parser(kept)
    parser = _Parser(
        prog=PROGRAM,
        description="Switches the nodes of a Raspberry Pi Cluster HAT.",
        epilog=_EXITS,
        parents=[settings],
    )
    parser.set_defaults(settings=kept)
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands_of = parser.add_subparsers(
        title="commands (options may stand before or after them)",
        dest="command",
        metavar="COMMAND",
        required=True,
        prog=PROGRAM,
    )
    for name in commands:
        summary, add_arguments = _COMMANDS[name]
        description = f"{summary[0].upper()}{summary[1:]}."
        add_arguments(commands_of.add_parser(name, help=summary, description=description, parents=[settings]))
    return parser


def _version() -> str:
    from rpi_clusterhat import __version__

    return __version__


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command's arguments.

    Returns:
        The command's own arguments, and ``settings``, which maps names to what options gave.

    Raises:
        SettingError: The arguments are wrong.
        Told: For ``--help`` and ``--version``.
    """
    argv, words = _split(argv)
    args = _parse_own(argv)
    if args.command == "run":
        args.words = words
    return args


def _split(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Takes off the words of another command, which stand after ``--``."""
    if "--" in argv:
        end = argv.index("--")
        if next((word for word in argv[:end] if word in _COMMANDS), None) == "run":
            return argv[:end], argv[end + 1 :]
    return argv, ()


def _parse_own(argv: Sequence[str]) -> argparse.Namespace:
    command = next((word for word in argv if word in _COMMANDS), None)
    if command and "-h" not in argv and "--help" not in argv:
        # A dozen parsers take longer to build than a status takes to read.
        try:
            return _parse(build_parser([command]), argv)
        except SettingError:
            pass  # the whole parser says it better
    from .wrong_words import check_command, check_options

    parser = build_parser()
    check_options(argv, _COMMANDS)
    check_command(_settings_parser({}).parse_known_args(argv)[1], _COMMANDS)
    return _parse(parser, argv)


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    args, rest = parser.parse_known_args(argv)
    words = [*getattr(args, "nodes", ()), *rest]
    if words:
        from .vendor_words import WORDS, explain

        if named := next((word for word in words if word in WORDS), None):
            raise SettingError(explain(named))
    if rest and "nodes" in args and not any(word.startswith("-") for word in rest):
        args.nodes += rest  # argparse takes no second group of them, after an option
    elif rest:
        why = ": it is for the whole board" if "action" in args else ""
        raise SettingError(
            f"{args.command} takes no {rest[0]!r}{why} (see '{PROGRAM} {args.command} --help')"
        )
    return args
