"""A transport to something in the same process that turns bytes into bytes."""

import asyncio

from quantacore.host.transport.base import DisconnectedError, Transport

__all__ = ["PipeTransport"]


class PipeTransport(Transport):
    """Gives what is written to a function and reads what it returns.

    Parameters
    ----------
    feed : callable
        Called with the bytes written; returns the bytes that come back.
    name : str
        For messages.
    """

    def __init__(self, feed, *, name="pipe"):
        self._feed = feed
        self.url = f"{name}:"
        self._received = bytearray()
        self._waiter = None
        self._open = False

    async def open(self):
        self._open = True

    async def close(self):
        self._open = False
        self._wake()

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def push(self, data):
        """Bytes that come by themselves, not in return for any."""
        if data:
            self._received += data
            self._wake()

    async def read(self, limit=65536):
        while not self._received:
            if not self._open:
                raise DisconnectedError(f"{self.url} is closed")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = bytes(self._received[:limit])
        del self._received[:limit]
        return data

    async def write(self, data):
        if not self._open:
            raise DisconnectedError(f"{self.url} is closed")
        self.push(self._feed(data))
