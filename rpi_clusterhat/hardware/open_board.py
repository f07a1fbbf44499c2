"""Opens a board as the settings say: finds its version, chooses its backend and opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import BackendUnavailableError, ClusterHatError

from .backend import OpenRequest, Plugin
from .boards import Board, board, detect
from .discovery import load, parse_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.settings import BoardSettings, Settings

    from .backend import Backend

__all__ = ["open_board"]


def open_board(
    said: BoardSettings, settings: Settings, clock: Clock, shared: dict[str, Any], device_tree: str
) -> tuple[Board, Backend, str]:
    """Opens one board. This switches nothing.

    Args:
        said: What the settings say of this board.
        settings: The settings that all boards share.
        clock: What the backend waits with.
        shared: Objects that the banks of one cluster share; see `OpenRequest`.
        device_tree: The folder in which the kernel shows a HAT's description.

    Returns:
        The board, its open backend, and the backend's name.

    Raises:
        SettingError: A setting of the board or an option of the backend is wrong.
        BoardNotFoundError: No version is set, and no HAT describes itself.
        UnknownBackendError: There is no such backend.
        BackendUnavailableError: No backend can be used here.
    """
    plugin = load(said.backend) if said.backend else None
    if said.backend and plugin:  # what is wrong with them is said before a board is looked for
        parse_options(said.backend, plugin, said.options, said.option_origins)
    version = said.version or (plugin.board if plugin else None)
    if version is None:
        version = detect(device_tree)
    one = board(
        version, **({} if said.nodes is None else {"size": said.nodes}), where=said.origins.get("board", "")
    )

    def open_with(name: str, plugin: Plugin) -> Backend:
        options = parse_options(name, plugin, said.options, said.option_origins)
        request = OpenRequest(one.lines, options, clock, settings.lock_dir, shared, one.expander)
        try:
            return plugin.open(request)
        except ClusterHatError:
            raise
        except OSError as error:
            raise BackendUnavailableError(f"{name}: {error}") from error

    if said.backend and plugin:
        return one, open_with(said.backend, plugin), said.backend
    return one, *_first_usable(one, said.options, open_with)


def _first_usable(
    one: Board, options: Mapping[str, object], open_with: Callable[[str, Plugin], Backend]
) -> tuple[Backend, str]:
    """Opens the first backend that can be used here and keeps its levels, else the first that can be used.

    An option that was given rules out the backends that have no such option.
    """
    reasons: list[str] = []
    opened: list[tuple[Backend, str]] = []
    best: tuple[Backend, str] | None = None
    first_error: BackendUnavailableError | None = None
    misfit: tuple[str, Plugin] | None = None
    try:
        for name in one.backends:
            plugin = load(name)
            if not options.keys() <= {option.name for option in plugin.options}:
                misfit = misfit or (name, plugin)
                continue
            try:
                opened.append((open_with(name, plugin), name))
            except BackendUnavailableError as error:
                first_error = first_error or error
                reasons.append(f"{name}: {error}")
            else:
                if opened[-1][0].holds_levels:
                    best = opened[-1]
                    return best
        if opened:
            best = opened[0]
            return best
    finally:
        for other in opened:
            if other is not best:
                other[0].close()
    if first_error is None:
        assert misfit is not None
        return open_with(*misfit), misfit[0]  # which says that it has no such option
    if len(reasons) == 1:
        raise first_error
    raise type(first_error)(
        f"no backend can be used for a HAT {one.version} here: {'; '.join(reasons)}"
    ) from first_error
