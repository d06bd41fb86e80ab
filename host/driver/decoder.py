"""The syndrome decoder of a node: load it, give it rounds, take corrections.

::

    await node.decoder.load("d5.qcdi")
    async with node.decoder as decoder:
        await decoder.enqueue_syndromes(rounds)
        for shot in await decoder.get_corrections(1):
            print(shot.observables(1))

A round is the bits of both bases, in the numbering of the image: bit *s* of a basis is its space
*s* (:func:`quantacore.host.qec.shot_layers` puts the detection events of a Stim circuit into that
order). The bits are either *detection events* or *raw* measurement outcomes, of which the node
makes detection events by comparing each round with the one before. Every call says which.
"""

import asyncio
import logging
import os
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderImage,
    DecoderShape,
    ImageError,
    Table,
)
from quantacore.gateware.layouts.decoder_registers import (
    ROUND_NUMBER_BITS,
    LoadAddress,
    RoundHeader,
    erasure_words,
    load_words,
    round_words,
)
from quantacore.gateware.layouts.frames import MAX_PAYLOAD_WORDS
from quantacore.host.driver.block import BlockDriver
from quantacore.host.driver.errors import LinkError
from quantacore.host.driver.verdicts import ShotAssembler, split_records

__all__ = ["DecoderDriver", "DecoderMissingError", "DecoderSettings", "DecoderCounters",
           "LatencyHistogram", "image_identity", "pack_rounds", "why_not"]

_log = logging.getLogger(__name__)

#: Requests that a load keeps under way.
_LOAD_AHEAD = 16
#: Rounds that are never asked to wait in the node's queue: those on their way inside it.
_ROUND_MARGIN = 4
#: Looks at a queue that does not move, before that is an error.
_PATIENCE = 20_000
_HEADER = {name: f.offset for name, f in RoundHeader.as_shape()}


class DecoderMissingError(LinkError):
    """The node has no decoder, or it has no image."""


def image_identity(image):
    """CRC-32 of the image's file, as it stands in the register ``image_id``; never 0."""
    return zlib.crc32(image.to_bytes()[:-4]) or 1


def why_not(image, shape):
    """Why a build of ``shape`` can't take the image, and which build can; "" if it can."""
    wanted = image.shape
    names = ["space_bits", "delta_bits", "observables", "edge_bits", "shortcut_bits", "sites"]
    if wanted.correlation:
        names.append("correlation")
    wrong = [f"{name} {getattr(shape, name)} (the image has {getattr(wanted, name)})"
             for name in names if getattr(shape, name) != getattr(wanted, name)]
    window = image.settings["commit"] + image.settings["buffer"]
    if window > 1 << shape.time_bits:
        wrong.append(f"time_bits {shape.time_bits} (windows of {window} layers need "
                     f"{(window - 1).bit_length()})")
    if not wrong:
        return ""
    return (f"The image is for another build: this one has {', '.join(wrong)}. Compile it for "
            f"this build (compile_circuit(..., shape={shape!r}), or quantacore decode compile "
            f"--for-node), or use a node built with {wanted!r}")


def pack_rounds(shape, rounds, *, number=0, first=True, last=True, raw=False, erasures=None):
    """Rounds as words of the register ``rounds``.

    Parameters
    ----------
    shape : DecoderShape
    rounds : array, (rounds, 2 bases, spaces)
        Nonzero where a bit is 1.
    number : int
        Number of the first one in its shot.
    first, last : bool
        Whether the first one begins a shot, and the last one ends it.
    raw : bool
        Measurement outcomes instead of detection events.
    erasures : array, (rounds, sites), optional

    Returns
    -------
    numpy.ndarray
        uint32, (rounds, words of a round).
    """
    rounds = np.asarray(rounds)
    if rounds.ndim != 3 or rounds.shape[1] != BASES or rounds.shape[2] > 1 << shape.space_bits:
        raise ValueError(f"Rounds must have the shape (rounds, {BASES}, up to "
                         f"{1 << shape.space_bits} spaces), not {rounds.shape}")
    count = len(rounds)
    if not 0 <= number <= (1 << ROUND_NUMBER_BITS) - count:
        raise ValueError(f"Round numbers must be below 2**{ROUND_NUMBER_BITS}, not {number} to "
                         f"{number + count - 1}")
    each = round_words(shape)
    bits = np.zeros((count, BASES, 32 * each), np.uint8)
    bits[:, :, :rounds.shape[2]] = rounds != 0
    parts = [np.packbits(bits, axis=2, bitorder="little").view("<u4").reshape(count, -1)]
    header = np.arange(number, number + count, dtype=np.uint32)
    header |= np.uint32(bool(raw) << _HEADER["raw"])
    if count:
        header[0] |= np.uint32(bool(first) << _HEADER["first"])
        header[-1] |= np.uint32(bool(last) << _HEADER["last"])
    if erasures is not None:
        erasures = np.asarray(erasures)
        if erasures.ndim != 2 or len(erasures) != count or erasures.shape[1] > shape.sites:
            raise ValueError(f"Erasures must have the shape ({count}, up to {shape.sites} sites), "
                             f"not {erasures.shape}")
        flags = np.zeros((count, 32 * erasure_words(shape)), np.uint8)
        flags[:, :erasures.shape[1]] = erasures != 0
        header |= np.uint32(1 << _HEADER["erased"])
        parts.append(np.packbits(flags, axis=1, bitorder="little").view("<u4"))
    return np.concatenate([header[:, None], *parts], axis=1).astype(np.uint32)


@dataclass(frozen=True)
class DecoderSettings:
    """Settings as they are in the node.

    ``image_id`` is 0 where no image is loaded; ``references`` has a bit for each basis whose
    first raw outcomes are determined.
    """

    enable: bool
    commit: int
    buffer: int
    reach: int
    correlation: bool
    matches: bool
    references: int
    image_id: int


@dataclass(frozen=True)
class DecoderCounters:
    """The decoder's account, in the order of the registers; see docs/registers.md."""

    link_rounds: int
    accepted: int
    lost: int
    missing: int
    duplicates: int
    verdicts: int
    second_passes: int
    escaped_windows: int
    overflows: int
    escapes: int
    matches: int
    backlog: int
    backlog_max: int
    latency_max: int
    clocks_max: int
    defects_max: int


@dataclass(frozen=True)
class LatencyHistogram:
    """How long rounds took from the arrival of the last one their window needs to its verdict.

    Attributes
    ----------
    counts : numpy.ndarray
        int64; each round counts once for each basis. The last bin has all that is longer.
    bin_ticks : int
    tick_s : float
    """

    counts: np.ndarray
    bin_ticks: int
    tick_s: float

    @property
    def edges_s(self):
        """Bin edges in seconds; the last bin is open above."""
        return np.arange(len(self.counts) + 1) * self.bin_ticks * self.tick_s

    def quantile_s(self, part):
        """Upper edge of the bin below which this part of the rounds is; infinite in the last."""
        total = self.counts.sum()
        if not total:
            return float("nan")
        at = int(np.searchsorted(np.cumsum(self.counts), part * total))
        return float("inf") if at >= len(self.counts) - 1 else float(self.edges_s[at + 1])


class DecoderDriver(BlockDriver):
    """The syndrome decoder.

    ``async with node.decoder as decoder`` opens the stream of its records, resets and enables it;
    leaving disables it. A node has one stream of records, so time tags that come meanwhile are
    kept in ``other_records``.

    Attributes
    ----------
    image : DecoderImage or None
        What :meth:`load` loaded.
    other_records : list of numpy.ndarray
        Records of other blocks.
    """

    def __init__(self, node, registers):
        super().__init__(node, registers)
        self.image = None
        self.other_records = []
        self._shape = None
        self._stream = None
        self._assembler = ShotAssembler()
        self._ready = []
        self._next_round = 0

    # What there is.

    async def shape(self):
        """The shape of this build.

        Raises
        ------
        DecoderMissingError
        """
        if self._shape is None:
            if not self.node.identity.decoder:
                raise DecoderMissingError(
                    "This node was built without a decoder; build one with "
                    "NodeConfig(decoder=...), or start a virtual node with quantacore node "
                    "--decoder IMAGE")
            sizes = await self.registers.shape.read()
            values = {f.name: getattr(sizes, f.name) for f in fields(DecoderShape)
                      if hasattr(sizes, f.name)}
            self._shape = DecoderShape(**{**values, "capacity": 1 << sizes.slot_bits,
                                          "correlation": bool(sizes.correlation)})
            self._waiting = await self.registers.rounds_waiting.read()
        return self._shape

    async def settings(self):
        """:class:`DecoderSettings`."""
        registers = self.registers
        control, commit, buffer, reach, image = await asyncio.gather(
            registers.control.read(), registers.commit.read(), registers.buffer.read(),
            registers.reach.read(), registers.image_id.read())
        return DecoderSettings(bool(control.enable), commit, buffer, reach,
                               bool(control.correlation), bool(control.matches),
                               control.references, image)

    # Setting up.

    async def load(self, image, *, progress=None, force=False):
        """Load an image, unless the node has it already, and take over its settings.

        Parameters
        ----------
        image : DecoderImage or path
        progress : callable, optional
            ``progress(words done, words in all)``.
        force : bool
            Load it even if the node says that it has it.

        Raises
        ------
        ImageError
            The image is damaged, or for another build; the message has both shapes.
        DecoderMissingError
        """
        if isinstance(image, str | os.PathLike):
            image = DecoderImage.from_bytes(Path(image).read_bytes())
        shape = await self.shape()
        reason = why_not(image, shape)
        if reason:
            raise ImageError(reason)
        for name in ("capacity", "cluster", "event_bits"):
            if getattr(shape, name) != getattr(image.shape, name):
                _log.warning("the node's decoder has %s %d, the image was compiled for %d",
                             name, getattr(shape, name), getattr(image.shape, name))
        registers = self.registers
        identity = image_identity(image)
        await self.disable()
        await self.reset_decoder()
        if force or await registers.image_id.read() != identity:
            await registers.image_id.write(0)
            await self._load_tables(image, shape, progress)
            await registers.image_id.write(identity)
        self.image = image
        await self.configure(
            **{name: image.settings[name] for name in ("commit", "buffer", "reach")},
            correlation=image.shape.correlation, references=image.settings.get("references", 1))

    async def _load_tables(self, image, shape, progress):
        registers, client = self.registers, self.node.client
        parts = []
        for basis in range(BASES):
            for table in Table:
                # Only what the image knows: an image without correlation leaves those tables be.
                if shape.table_depth(table) and image.shape.table_depth(table):
                    parts.append((basis, table, image.words(basis, table)))
        total = sum(len(words) * load_words(shape, table) for _, table, words in parts)
        done = 0
        for basis, table, words in parts:
            await registers.load_address.write(LoadAddress.const(
                {"address": 0, "table": table, "basis": basis}).as_bits())
            entries = np.array(words, np.uint64)
            if load_words(shape, table) == 2:
                entries = entries.view("<u4")
            sent = entries.astype(np.uint32).tolist()
            step = _LOAD_AHEAD * MAX_PAYLOAD_WORDS
            for begin in range(0, len(sent), step):
                chunk = sent[begin:begin + step]
                await asyncio.gather(*(
                    client.write_fixed(registers.load_data.address,
                                       chunk[at:at + MAX_PAYLOAD_WORDS])
                    for at in range(0, len(chunk), MAX_PAYLOAD_WORDS)))
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            stored = await registers.load_count.read()
            if stored != len(words):
                raise LinkError(f"The node stored {stored} of {len(words)} words of table "
                                f"{table.name}, basis {basis}; load the image again")

    async def check_image(self, image):
        """Whether the node says that it has this very image."""
        return await self.registers.image_id.read() == image_identity(image)

    async def configure(self, *, commit=None, buffer=None, reach=None, correlation=None,
                        matches=None, references=None):
        """Change settings; those not named stay. Do it between shots.

        Parameters
        ----------
        commit, buffer : int
            Layers that a window commits, and that it looks ahead.
        reach : int
            How far shortcuts of the other basis reach, weight 0 to 254.
        correlation : bool
            Whether the second pass runs.
        matches : bool
            Record every match, for :attr:`DecodedShot.matches`.
        references : int
            Raw rounds: mask of the bases whose first outcomes are determined.
        """
        shape = await self.shape()
        old = await self.settings()
        commit = old.commit if commit is None else commit
        buffer = old.buffer if buffer is None else buffer
        if commit < 1 or buffer < 0 or commit + buffer > 1 << shape.time_bits:
            raise ValueError(f"A window of this build has 1 to {1 << shape.time_bits} layers; "
                             f"commit {commit!r} and buffer {buffer!r} don't fit")
        if reach is not None and not 0 <= reach <= 254:
            raise ValueError(f"Reach must be 0 to 254, not {reach!r}")
        if correlation and not shape.correlation:
            raise ValueError("This build has no second pass: correlation must be False")
        registers = self.registers
        await registers.commit.write(commit)
        await registers.buffer.write(buffer)
        if reach is not None:
            await registers.reach.write(reach)
        changes = {name: int(value) for name, value in
                   (("correlation", correlation), ("matches", matches),
                    ("references", references)) if value is not None}
        if changes:
            await registers.control.modify(**changes)

    async def set_latency_bin(self, ticks):
        """Width of the latency histogram's bins, the next power of two; clears all counts."""
        shift = max(0, int(ticks) - 1).bit_length()
        if ticks < 1 or shift > 15:
            raise ValueError(f"Bin width must be 1 to 32768 ticks, not {ticks!r}")
        await self.registers.latency_shift.write(shift)
        await self.clear()
        return 1 << shift

    async def enable(self):
        """Take rounds.

        Raises
        ------
        DecoderMissingError
            No image is loaded.
        """
        await self.shape()
        if not await self.registers.image_id.read():
            raise DecoderMissingError("The node's decoder has no image; load() one first")
        await self.registers.control.modify(enable=1)

    async def disable(self):
        """Ignore rounds from here on."""
        await self.shape()
        await self.registers.control.modify(enable=0)

    # Rounds and corrections.

    async def __aenter__(self):
        shape = await self.shape()
        if self.image is None and not await self.registers.image_id.read():
            raise DecoderMissingError("The node's decoder has no image; load() one first")
        stream = self.node.tagger.stream()
        await stream.open()
        self._stream = stream
        self.other_records = []
        try:
            await self.reset_decoder()
            await self.enable()
        except BaseException:
            self._stream = None
            await stream.close()
            raise
        _log.debug("decoder of shape %r is open", shape)
        return self

    async def __aexit__(self, *exception):
        stream, self._stream = self._stream, None
        try:
            if self.node.client.failure is None:
                await self.disable()
        finally:
            if stream is not None:
                await stream.__aexit__(*(exception or (None, None, None)))

    def _opened(self):
        if self._stream is None:
            raise LinkError("The decoder's records are not open; use "
                            "`async with node.decoder as decoder:`")
        return self._stream

    async def reset_decoder(self):
        """Forget all rounds, defects and corrections that were not taken; tables stay.

        The next round given begins a shot.
        """
        await self.shape()
        await self.registers.reset.write(1)
        if self._stream is not None:
            self._keep(await self._stream.read_pending())
        self._assembler = ShotAssembler()
        self._ready = []
        self._next_round = 0

    async def enqueue_syndromes(self, rounds, *, raw=False, last=True, erasures=None, ahead=None):
        """Give rounds to the decoder; returns when the node has them.

        Waits while the node's queue is full, so that none is lost.

        Parameters
        ----------
        rounds : array, (rounds, 2 bases, spaces)
            One shot, or a part of one: the first round after a reset or after the end of a shot
            begins a shot.
        raw : bool
            The bits are measurement outcomes, not detection events. The first round's are
            compared with 0 in the bases of ``references``, and with nothing in the others.
        last : bool
            Whether these rounds end the shot.
        erasures : array, (rounds, sites), optional
            Heralded erasures of each round.
        ahead : int, optional
            Let at most about so many rounds wait in the node's queue: what waits there adds to
            its latency.
        """
        shape = await self.shape()
        self._opened()
        words = pack_rounds(shape, rounds, number=self._next_round, first=self._next_round == 0,
                            last=last, raw=raw, erasures=erasures)
        await self._send(words, ahead)
        self._next_round = 0 if last and len(words) else self._next_round + len(words)

    async def enqueue_shots(self, shots, *, raw=False, erasures=None, ahead=None):
        """Give whole shots, ``(shots, 2 bases, rounds, spaces)``: what
        :func:`quantacore.host.qec.shot_layers` returns.

        ``erasures`` is ``(shots, rounds, sites)``. The same as :meth:`enqueue_syndromes` for each
        shot, with fuller frames.
        """
        shape = await self.shape()
        self._opened()
        if self._next_round:
            raise ValueError(f"A shot of {self._next_round} rounds is open; end it with "
                             f"enqueue_syndromes(..., last=True)")
        shots = np.asarray(shots)
        if shots.ndim != 4:
            raise ValueError(f"Shots must have the shape (shots, {BASES}, rounds, spaces), "
                             f"not {shots.shape}")
        if not shots.shape[2]:
            raise ValueError("A shot must have at least one round")
        parts = [pack_rounds(shape, shot.transpose(1, 0, 2), raw=raw,
                             erasures=None if erasures is None else erasures[k])
                 for k, shot in enumerate(shots)]
        if parts:
            await self._send(np.concatenate(parts), ahead)

    async def _send(self, words, ahead):
        registers, client = self.registers, self.node.client
        per_request = MAX_PAYLOAD_WORDS // words.shape[1]
        limit = self._waiting - _ROUND_MARGIN
        if ahead is not None:
            if ahead < 1:
                raise ValueError(f"At least 1 round must be able to wait, not {ahead!r}")
            limit = min(limit, ahead)
        at, idle, before = 0, 0, None
        while at < len(words):
            backlog = await registers.backlog.read()
            room = min(limit - backlog, len(words) - at)
            if room < min(max(1, limit // 4), len(words) - at):
                # Nothing to do but ask again: each question lets the decoder go on.
                idle = idle + 1 if backlog == before else 0
                before = backlog
                if idle > _PATIENCE:
                    raise LinkError(f"{backlog} rounds wait in the node and none is taken: is the "
                                    f"decoder enabled, and are its records read?")
                continue
            idle = 0
            chunk = words[at:at + room]
            await asyncio.gather(*(
                client.write_fixed(registers.rounds.address,
                                   chunk[k:k + per_request].ravel().tolist())
                for k in range(0, len(chunk), per_request)))
            at += len(chunk)

    def _keep(self, records):
        others, ours = split_records(records)
        if len(others):
            self.other_records.append(others)
        return ours

    async def get_corrections(self, shots=None):
        """Shots that have been decoded, as :class:`~quantacore.host.driver.verdicts.DecodedShot`.

        Parameters
        ----------
        shots : int or None
            Wait until so many are there and return exactly these. None: those that the node has
            finished, without waiting.
        """
        stream = self._opened()
        if shots is None:
            self._ready += self._assembler.feed(self._keep(await stream.read_pending()))
            shots = len(self._ready)
        while len(self._ready) < shots:
            self._ready += self._assembler.feed(self._keep(await stream.read()))
        done, self._ready = self._ready[:shots], self._ready[shots:]
        return done

    async def decode_shots(self, shots, *, raw=False, erasures=None, ahead=None, batch=256):
        """Give shots and take their corrections: a list of as many ``DecodedShot``.

        Gives ``batch`` shots at a time, so that records are taken while rounds are given.
        """
        shots, result = np.asarray(shots), []
        for begin in range(0, len(shots), batch):
            part = shots[begin:begin + batch]
            await self.enqueue_shots(
                part, raw=raw, ahead=ahead,
                erasures=None if erasures is None else erasures[begin:begin + batch])
            result += await self.get_corrections(len(part))
        return result

    # Counts.

    async def clear(self):
        """Clear all counts and the latency histogram."""
        registers = self.registers
        await registers.clear.write(1)
        for _ in range(1000):
            if not (await registers.status.read()).clearing:
                return
        raise LinkError("The decoder stays busy clearing its counts; reset the node")

    async def counters(self):
        """The account: :class:`DecoderCounters`."""
        names = [f.name for f in fields(DecoderCounters)]
        values = await asyncio.gather(*(getattr(self.registers, name).read() for name in names))
        return DecoderCounters(**dict(zip(names, values, strict=True)))

    async def latency(self):
        """:class:`LatencyHistogram`. May be read while the decoder works."""
        counts, shift = await asyncio.gather(self.registers.latency.read(),
                                             self.registers.latency_shift.read())
        return LatencyHistogram(np.array(counts, np.int64), 1 << shift,
                                float(self.units.tick_ps) * 1e-12)

    async def frames(self):
        """Pauli frame of each basis after its last window
        (:class:`~quantacore.host.driver.registers.FrameState`)."""
        return await self.registers.frame.read()

    async def idle(self):
        """Whether no window is being decoded and no round waits."""
        status, backlog = await asyncio.gather(self.registers.status.read(),
                                               self.registers.backlog.read())
        return bool(status.idle) and not backlog
