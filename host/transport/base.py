"""What a transport is: bytes to a node and bytes back, and errors that say how to mend them."""

import abc
import importlib.metadata
from urllib.parse import unquote

__all__ = ["Transport", "TransportError", "PortNotFoundError", "PortBusyError",
           "PortPermissionError", "DisconnectedError", "TransportUnavailableError",
           "ReplayMismatchError", "open_transport"]


class TransportError(Exception):
    """Bytes can't reach the node. The message says why and what to do."""


class PortNotFoundError(TransportError):
    """There is no such port, host or file."""


class PortBusyError(TransportError):
    """Another program has the port."""


class PortPermissionError(TransportError):
    """The port exists, and this user may not open it."""


class DisconnectedError(TransportError):
    """The other end has gone: unplugged, closed or cut."""


class TransportUnavailableError(TransportError):
    """The transport's package is not installed."""


class ReplayMismatchError(TransportError):
    """The host asked something else than in the recording."""


class Transport(abc.ABC):
    """A byte stream to a node and back.

    One task reads; any task may write, one at a time. A transport is opened once and closed once,
    and ``async with transport`` does both. Methods raise :class:`TransportError` and nothing else
    for whatever can go wrong outside the program.
    """

    #: What to call it in messages; the URL it can be opened with, where it has one.
    url = "transport:"

    @abc.abstractmethod
    async def open(self):
        """Connect. Does nothing if open already."""

    @abc.abstractmethod
    async def close(self):
        """Disconnect; a ``read`` that waits raises :class:`DisconnectedError`. May be called
        twice."""

    @abc.abstractmethod
    async def read(self, limit=65536):
        """Wait for at least one byte; return all that are there, ``limit`` at most.

        A cancelled read loses no bytes.
        """

    @abc.abstractmethod
    async def write(self, data):
        """Send all of ``data``; returns when it is taken, not when it has arrived."""

    def hint(self):
        """A sentence for the message of a time-out: what to check with this transport."""
        return ""

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_exception):
        await self.close()


_ENTRY_POINTS = "quantacore.transports"


def _plug_in(name, rest, options):
    found = importlib.metadata.entry_points(group=_ENTRY_POINTS, name=name)
    if not found:
        raise TransportUnavailableError(
            f"No installed package offers the transport {name!r}: (entry point group "
            f"{_ENTRY_POINTS!r}); this installation has {known_schemes()}")
    entry = next(iter(found))
    try:
        factory = entry.load()
    except ImportError as error:
        fix = ('install the simulator with: pip install "quantacore[sim]"' if name == "virtual"
               else f"reinstall the package that offers it ({entry.value})")
        raise TransportUnavailableError(
            f"The transport {name!r}: can't be loaded ({error}); {fix}") from error
    return factory(rest, **options) if rest else factory(**options)


def known_schemes():
    """Words that may stand before the colon of a URL, in one string."""
    plugged = {entry.name for entry in importlib.metadata.entry_points(group=_ENTRY_POINTS)}
    return ", ".join(f"{scheme}:" for scheme in sorted({"serial", "tcp", "replay"} | plugged))


def _number(options, name, default, url):
    text = options.pop(name, None)
    if text is None:
        return default
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{name} in {url!r} must be a whole number, not {text!r}") from None


def open_transport(url, *, record=None):
    """Make the transport that a URL names; it is not open yet.

    =============================  ==========================================================
    ``/dev/ttyUSB0``, ``COM3``     a serial port at 3 000 000 baud
    ``serial:PORT?baud=1000000``   a serial port (also a pseudo-terminal)
    ``tcp:HOST:PORT``              a node that is served over TCP
    ``virtual:``                   a Verilated node in this process (``quantacore[sim]``)
    ``replay:FILE``                a recorded conversation
    =============================  ==========================================================

    Other words before the colon are looked up in the entry point group
    ``quantacore.transports``; what follows a ``?`` is given to them as keyword arguments.

    Parameters
    ----------
    url : str or Transport
        A transport is returned as it is.
    record : path or None
        Write everything that passes to this file (see :mod:`quantacore.host.transport.record`).

    Raises
    ------
    ValueError
        If the URL can't be understood.
    TransportUnavailableError
        If nothing installed understands it.
    """
    if isinstance(url, Transport):
        transport = url
    else:
        transport = _from_url(str(url))
    if record is not None:
        from quantacore.host.transport.record import RecordTransport
        transport = RecordTransport(transport, record)
    return transport


def _from_url(url):
    scheme, colon, rest = url.partition(":")
    if url.startswith(("/", "./")) or (not colon and url.upper().startswith("COM")):
        scheme, rest = "serial", url
    elif not colon:
        raise ValueError(f"A node is named by a port such as /dev/ttyUSB0 or by a URL beginning "
                         f"with one of {known_schemes()} not {url!r}")
    rest, _, query = rest.partition("?")
    options = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"What follows ? in {url!r} must be name=value, not {item!r}")
        options[unquote(name)] = unquote(value)
    if scheme == "serial":
        from quantacore.host.transport.serial import DEFAULT_BAUD, SerialTransport
        transport = SerialTransport(rest, baud=_number(options, "baud", DEFAULT_BAUD, url))
    elif scheme == "tcp":
        from quantacore.host.transport.tcp import TCPTransport
        host, _, port = rest.removeprefix("//").rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"A TCP node is named tcp:HOST:PORT, not {url!r}")
        transport = TCPTransport(host.strip("[]"), int(port))
    elif scheme == "replay":
        from quantacore.host.transport.replay import ReplayTransport
        transport = ReplayTransport(rest)
    else:
        return _plug_in(scheme, rest, options)
    if options:
        raise ValueError(f"{', '.join(sorted(options))} in {url!r} is not an option of {scheme}:")
    return transport
