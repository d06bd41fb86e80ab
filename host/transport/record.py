r"""Write down what passes between host and node.

A recording is text, one JSON array a line::

    recording = header line*
    header    = {"quantacore": "link recording", "version": 1, "url": string} "\n"
    line      = [time, direction, hex] "\n"
    time      = microseconds since the transport was opened, a whole number
    direction = ">" (host to node) | "<" (node to host)
    hex       = the bytes, two hexadecimal digits each

A line holds one write or one read as the transport saw it; how the bytes fall into lines has no
meaning. :mod:`quantacore.host.transport.replay` plays it back.
"""

import json
import time
from pathlib import Path

from quantacore.host.transport.base import Transport, TransportError

__all__ = ["HEADER", "RecordTransport"]

HEADER = {"quantacore": "link recording", "version": 1}


class RecordTransport(Transport):
    """Passes bytes through, and writes them to a file.

    Parameters
    ----------
    inner : Transport
    path : path
        Written anew.
    """

    def __init__(self, inner, path):
        self.inner = inner
        self.path = Path(path)
        self.url = inner.url
        self._file = None

    async def open(self):
        if self._file is not None:
            return
        await self.inner.open()
        try:
            self._file = self.path.open("w", encoding="ascii")
        except OSError as error:
            await self.inner.close()
            raise TransportError(f"Can't write the recording {self.path}: {error.strerror}; "
                                 f"choose another file") from error
        self._start = time.monotonic()
        self._file.write(json.dumps({**HEADER, "url": self.url}) + "\n")

    def _note(self, direction, data):
        if self._file is not None:
            us = round((time.monotonic() - self._start) * 1e6)
            self._file.write(f'[{us}, "{direction}", "{bytes(data).hex()}"]\n')

    async def close(self):
        file, self._file = self._file, None
        if file is not None:
            file.close()
        await self.inner.close()

    async def read(self, limit=65536):
        data = await self.inner.read(limit)
        self._note("<", data)
        return data

    async def write(self, data):
        self._note(">", data)
        await self.inner.write(data)

    def hint(self):
        return self.inner.hint()
