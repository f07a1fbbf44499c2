"""Opens a board of a cluster as a bank of a simulated world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import BackendError, BackendUnavailableError, SettingError

from .backend import BankSpec, SimBackend
from .load import NodeModel
from .world import AMBIENT, HISTORY, World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import OpenRequest

    from .backend import Computers
    from .service import Service
    from .serving import Servers
    from .world import WorldSource

__all__ = ["check", "open_backend"]


def open_backend(request: OpenRequest) -> SimBackend:
    """Opens a board of a cluster.

    The boards of one cluster are banks of one world. That is ``shared["sim.world"]``, which is made for the
    first board if it is missing, or the world of the state file.
    """
    options = request.options
    shared = request.shared
    world = _state_file(request, options) if options["state"] else _world(request, options)
    key = f"sim.banks {getattr(world, 'path', '')}"
    taken: list[str] = shared.setdefault(key, [])
    name = options["bank"] if options["bank"] is not None else str(len(taken))
    if name in taken:
        raise SettingError(f"bank={name}: another board of this cluster is that bank already")
    try:
        backend = SimBackend(
            world,
            request.lines,
            bank=name,
            holds=options["holds"],
            spec=BankSpec(
                rail=options["rail"],
                capacity=options["capacity"],
                ambient=options["ambient"],
                model={field: options[field] for field in NodeModel._fields},
                set_up=options["set_up"],
                pos=options["pos"],
            ),
            faults=options["fault"],
            servers=_servers(request, world) if _serves(options) else None,
            computers=_computers(request, world) if options["nodes"] == "rack" else None,
        )
    except BackendUnavailableError:
        raise
    except BackendError as error:
        raise BackendUnavailableError(str(error)) from error
    taken.append(name)
    return backend


def _world(request: OpenRequest, options: Mapping[str, Any]) -> World:
    world = request.shared.get("sim.world")
    if world is None:
        history = HISTORY if options["history"] is None else options["history"]
        world = request.shared["sim.world"] = World(clock=request.clock, history=history, ambient=AMBIENT)
    return world


def _state_file(request: OpenRequest, options: Mapping[str, Any]) -> WorldSource:
    from .state_file import HISTORY_IN_FILE, StateFile, absolute_path

    path = absolute_path(options["state"])
    key = f"sim.state {path}"
    if key not in request.shared:
        history = HISTORY_IN_FILE if options["history"] is None else options["history"]
        request.shared[key] = StateFile(path, clock=request.clock, history=history)
    file: WorldSource = request.shared[key]
    return file


def _servers(request: OpenRequest, world: WorldSource) -> Servers:
    """The servers of all boards that are in this world."""
    from .serving import Servers

    text: str | None = request.options["service"]
    key = f"sim.servers {getattr(world, 'path', '')} {text}"
    if key not in request.shared:
        request.shared[key] = Servers(world, service=_service(text))
    servers: Servers = request.shared[key]
    return servers


def _computers(request: OpenRequest, world: WorldSource) -> Computers:
    """The computers of all boards that are in this world."""
    from .rack.built import find
    from .rack.rack import Rack
    from .rack.shared import SharedRack
    from .rack.station import RackStations
    from .state_file import StateFile

    if isinstance(world, StateFile):
        return SharedRack(world.path)
    key = "sim.rack"
    if key not in request.shared:
        request.shared[key] = RackStations(world, Rack(built=find(request.options["rack"])))
    computers: RackStations = request.shared[key]
    return computers


def _serves(options: Mapping[str, Any]) -> bool:
    if options["nodes"] == "rack":
        return False
    serve: bool | None = options["serve"]
    return options["service"] is not None if serve is None else serve


def _service(text: str | None) -> Service:
    from .service import Echo, load_service

    if text is None:
        return Echo
    try:
        return load_service(text)
    except Exception as error:  # whatever the user's module raises
        raise SettingError(f"service={text}: {error}") from error


def check(options: Mapping[str, Any]) -> None:
    """Whether the state file and the rack, where they are asked for, can be used."""
    if options.get("nodes") == "rack" and not options.get("state"):  # another process runs those of a file
        from .rack.built import find

        find(options.get("rack"))
    if options.get("state"):
        from .state_file import StateFile

        try:
            StateFile(options["state"]).check()
        except BackendUnavailableError:
            raise
        except BackendError as error:
            raise BackendUnavailableError(str(error)) from error
