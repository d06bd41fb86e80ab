"""Ways for bytes to reach a node."""

from quantacore.host.transport.base import (
    DisconnectedError,
    PortBusyError,
    PortNotFoundError,
    PortPermissionError,
    ReplayMismatchError,
    Transport,
    TransportError,
    TransportUnavailableError,
    open_transport,
)

__all__ = [
    "Transport",
    "open_transport",
    "TransportError",
    "PortNotFoundError",
    "PortBusyError",
    "PortPermissionError",
    "DisconnectedError",
    "TransportUnavailableError",
    "ReplayMismatchError",
]
