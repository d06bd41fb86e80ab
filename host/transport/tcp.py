"""A node that is served over TCP."""

import asyncio
import socket

from quantacore.host.transport.base import DisconnectedError, PortNotFoundError, Transport

__all__ = ["TCPTransport"]


class TCPTransport(Transport):
    """A byte stream over TCP.

    Parameters
    ----------
    host : str
    port : int
    """

    def __init__(self, host, port):
        if not 1 <= port <= 65535:
            raise ValueError(f"TCP port must be 1 to 65535, not {port!r}")
        self.host = host
        self.port = port
        self.url = f"tcp:{host}:{port}"
        self._reader = self._writer = None

    async def open(self):
        if self._writer is not None:
            return
        try:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            raise PortNotFoundError(
                f"Can't connect to {self.url}: {error.strerror or error}. Is a node served there? "
                f"Start one with: quantacore node --tcp {self.port}") from error
        # A request is one small packet; waiting to fill packets would cost 40 ms each.
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def close(self):
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self._reader.feed_eof()
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # it was gone before we closed it

    async def read(self, limit=65536):
        if self._writer is None:
            raise DisconnectedError(f"{self.url} is closed")
        try:
            data = await self._reader.read(limit)
        except OSError as error:
            raise self._gone(f" ({error.strerror or error})") from error
        if not data:
            raise self._gone()
        return data

    def _gone(self, detail=""):
        return DisconnectedError(f"{self.url} was closed by the other side{detail}. A served node "
                                 f"takes one host at a time: is another one connected? If not, "
                                 f"is the node still being served?")

    async def write(self, data):
        if self._writer is None:
            raise DisconnectedError(f"{self.url} is closed")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise self._gone(f" ({error.strerror or error})") from error

    def hint(self):
        return "check that the program that serves the node is alive and serves no one else"
