"""Play a recorded conversation: the node's bytes again, for the same host bytes."""

import asyncio
import json
from pathlib import Path

from quantacore.host.transport.base import (
    DisconnectedError,
    PortNotFoundError,
    ReplayMismatchError,
    Transport,
    TransportError,
)
from quantacore.host.transport.record import HEADER

__all__ = ["ReplayTransport", "load_recording"]

_SYNC_FIELD_BYTES = 16


def load_recording(path):
    """The conversation as a list of ``(microseconds, direction, bytes)``."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise PortNotFoundError(f"There is no recording {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TransportError(f"{path} is not a link recording ({error})") from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if number == 1:
                if {key: entry.get(key) for key in HEADER} != HEADER:
                    raise ValueError(f"header says {line[:60]!r}")
                continue
            us, direction, text = entry
            if direction not in "<>" or not isinstance(us, int):
                raise ValueError(f"neither a time nor a direction: {line[:60]!r}")
            entries.append((us, direction, bytes.fromhex(text)))
        except (ValueError, TypeError, AttributeError) as error:
            raise TransportError(f"{path}, line {number} is not a link recording of version "
                                 f"{HEADER['version']}: {error}") from error
    if not lines:
        raise TransportError(f"{path} is empty; a link recording has a header line")
    return entries


class ReplayTransport(Transport):
    """A recording in place of a node.

    The host's frames must be those of the recording, in the recorded order; where the recording
    has bytes of the node next, they are read. The session number that a host draws at random is
    taken from the recording: :attr:`session`.

    Raises
    ------
    ReplayMismatchError
        From ``write``, with the place and both sides, if the host sends something else; from
        ``read`` when the recording is at its end.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.url = f"replay:{path}"
        self._entries = None

    async def open(self):
        if self._entries is not None:
            return
        # Runs of one direction, joined: how bytes fell into writes has no meaning.
        runs = []
        for _us, direction, data in load_recording(self.path):
            if runs and runs[-1][0] == direction:
                runs[-1][1].extend(data)
            else:
                runs.append((direction, bytearray(data)))
        self._entries = runs
        self._sent = bytes(b"".join(data for direction, data in runs if direction == ">"))
        self._at = 0
        self._error = None
        self._waiter = None

    @property
    def session(self):
        """Session number of the recording's first request, for the host to use again."""
        from quantacore.host.driver.framing import decode_frame
        for chunk in self._sent.split(b"\0"):
            frame = decode_frame(chunk) if chunk else None
            if frame is not None:
                return int.from_bytes(frame[2:4], "little")
        raise TransportError(f"{self.path} has no request in it")

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def close(self):
        if self._entries is not None:
            self._error = self._error or DisconnectedError(f"{self.url} is closed")
            self._wake()

    async def read(self, limit=65536):
        while True:
            if self._error is not None:
                raise self._error
            if not self._entries:
                raise ReplayMismatchError(f"{self.url} ends here, after {self._at} bytes of the "
                                          f"host; record a longer conversation")
            direction, data = self._entries[0]
            if direction == "<":
                out = bytes(data[:limit])
                del data[:limit]
                if not data:
                    self._entries.pop(0)
                return out
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def write(self, data):
        if self._error is not None:
            raise self._error
        expected = self._sent[self._at:self._at + len(data)]
        if bytes(data) != expected:
            self._error = ReplayMismatchError(
                f"The host departs from {self.url} at byte {self._at} of what it sends: recorded "
                f"{expected[:32].hex() or 'nothing more'}, now {bytes(data[:32]).hex()}. A replay "
                f"needs the same program with the same settings; record anew if it has changed")
            self._wake()
            raise self._error
        self._at += len(data)
        left = len(data)
        # The host may run ahead of the recorded order of directions by its window.
        for run in list(self._entries):
            if run[0] == ">" and left:
                taken = min(left, len(run[1]))
                del run[1][:taken]
                left -= taken
        self._entries = [run for run in self._entries if run[1]]
        self._wake()
