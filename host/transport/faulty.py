"""A transport that damages what passes: for tests and benchmarks of everything above it."""

import random
from dataclasses import dataclass, fields

from quantacore.host.transport.base import DisconnectedError, Transport

__all__ = ["FaultRates", "FaultyTransport", "damage"]


@dataclass(frozen=True, kw_only=True)
class FaultRates:
    """Probabilities of each damage, for each direction alike.

    ``flip``, ``drop`` and ``double`` are per byte: one bit changes, the byte is missing, the byte
    comes twice. The others are per frame (up to a zero byte): ``frame_drop``, ``frame_double``,
    ``frame_delay`` (it comes after the next frame of that direction), ``frame_cut`` (its tail and
    its final zero are missing).
    """

    flip: float = 0
    drop: float = 0
    double: float = 0
    frame_drop: float = 0
    frame_double: float = 0
    frame_delay: float = 0
    frame_cut: float = 0

    def __post_init__(self):
        for field in fields(self):
            rate = getattr(self, field.name)
            if not 0 <= rate <= 1:
                raise ValueError(f"Rate of {field.name!r} must be 0 to 1, not {rate!r}")


class _Damage:
    """Damages one direction."""

    def __init__(self, rates, rng, injected):
        self.rates, self.rng, self.injected = rates, rng, injected
        self.per_byte = rates.flip + rates.drop + rates.double
        if self.per_byte > 1:
            raise ValueError(f"Rates per byte must add up to 1 at most, not {self.per_byte}")
        self.frame_rates = [(name, getattr(rates, name)) for name in
                            ("frame_drop", "frame_double", "frame_delay", "frame_cut")]
        self.per_frame = any(rate for _, rate in self.frame_rates)
        self.rest = b""
        self.delayed = []
        self.skip = self._next()

    def _next(self):
        """Bytes that pass unharmed before the next damage: geometric, drawn once a damage."""
        if not self.per_byte:
            return float("inf")
        return int(self.rng.expovariate(1) / self.per_byte)

    def __call__(self, data):
        if self.per_frame:
            data = self._frames(data)
        if self.skip >= len(data):
            self.skip -= len(data)
            return data
        out, at = bytearray(), 0
        while at + self.skip < len(data):
            stop = at + self.skip
            out += data[at:stop]
            which = self.rng.random() * self.per_byte
            if which < self.rates.flip:
                out.append(data[stop] ^ 1 << self.rng.randrange(8))
                self.injected["flip"] += 1
            elif which < self.rates.flip + self.rates.drop:
                self.injected["drop"] += 1
            else:
                out += data[stop:stop + 1] * 2
                self.injected["double"] += 1
            at = stop + 1
            self.skip = self._next()
        self.skip -= len(data) - at
        return bytes(out) + data[at:]

    def _frames(self, data):
        *frames, self.rest = (self.rest + data).split(b"\0")
        out = []
        for frame in frames:
            frame += b"\0"
            late, self.delayed = self.delayed, []
            for name, rate in self.frame_rates:
                if rate and self.rng.random() < rate:
                    self.injected[name] += 1
                    if name == "frame_double":
                        out += [frame, frame]
                    elif name == "frame_delay":
                        self.delayed = [frame]
                    elif name == "frame_cut":
                        out.append(frame[:self.rng.randrange(len(frame))])
                    break
            else:
                out.append(frame)
            out += late
        return b"".join(out)


def damage(rates, *, seed, injected=None):
    """One direction by itself: a function from bytes sent to bytes that arrive.

    ``injected``, a dictionary with a zero for each kind, counts.
    """
    if injected is None:
        injected = {field.name: 0 for field in fields(FaultRates)}
    return _Damage(rates, random.Random(seed), injected)


class FaultyTransport(Transport):
    """Passes bytes through another transport and damages some.

    Parameters
    ----------
    inner : Transport
    rates : FaultRates
    seed : int
        Same seed, same calls: same damage.

    Attributes
    ----------
    injected : dict
        Damages done so far, by kind.
    enabled : bool
        Damage only while true.
    frames_written : int
        Frames that were handed over to be sent, before any damage.
    """

    def __init__(self, inner, rates, *, seed):
        self.inner = inner
        self.rates = rates
        self.url = inner.url
        self.enabled = True
        self.frames_written = 0
        self.injected = {field.name: 0 for field in fields(FaultRates)}
        self.injected["cut"] = 0
        self._out = damage(rates, seed=seed, injected=self.injected)
        self._in = damage(rates, seed=seed ^ 0x5EED, injected=self.injected)
        self._cut = False

    async def open(self):
        self._cut = False
        await self.inner.open()

    async def close(self):
        await self.inner.close()

    async def cut(self):
        """Break the connection, as when a cable is pulled."""
        self._cut = True
        self.injected["cut"] += 1
        await self.inner.close()

    def _error(self):
        return DisconnectedError(f"{self.url} was cut on purpose")

    async def read(self, limit=65536):
        while True:
            try:
                data = await self.inner.read(limit)
            except DisconnectedError:
                if self._cut:
                    raise self._error() from None
                raise
            if self.enabled:
                data = self._in(data)
            if data:
                return data

    async def write(self, data):
        if self._cut:
            raise self._error()
        # Every frame ends with a zero; a zero that follows another ends nothing.
        self.frames_written += data.count(0) - data.count(b"\0\0") - (data[:1] == b"\0")
        if self.enabled:
            data = self._out(data)
        if data:
            await self.inner.write(data)

    def hint(self):
        return self.inner.hint()
