"""The decoder's gateware at the speed of compiled C++, for long runs and for its clock counts."""

import contextlib
import ctypes
import enum
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.decoder.decoder import Decoder
from quantacore.gateware.decoder.engine import table_load
from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderRecordKind,
    EscapeRecord,
    MatchRecord,
    Stage,
    Table,
    TimingRecord,
    VerdictRecord,
    WindowFlags,
)
from quantacore.sim.bench.compiled import build_library, limbs

__all__ = ["FastDecoder", "Fate", "Records", "columns", "round_words"]


def columns(layout, words):
    """Fields of ``words`` (uint64) by name, as int64 arrays."""
    words = np.asarray(words, np.uint64)
    return {name: ((words >> np.uint64(field.offset))
                   & np.uint64((1 << Shape.cast(field.shape).width) - 1)).astype(np.int64)
            for name, field in layout}


class Fate(enum.IntEnum):
    """What became of a round."""

    UNKNOWN = 0
    ACCEPTED = 1
    LOST = 2
    DUPLICATE = 3


@dataclass(frozen=True)
class Records:
    """What a run wrote, by kind: a dict of columns each.

    ``verdicts`` has the flags' names among its columns, ``times`` is the clock of each timing
    record; ``sent`` rounds found ``backlog`` rounds waiting, and met the ``fates`` (see
    :class:`Fate`).
    """

    verdicts: dict
    timings: dict
    matches: dict
    escapes: dict
    times: np.ndarray
    sent: int
    backlog: np.ndarray
    fates: np.ndarray
    clocks: int


def _pack(values, widths):
    """Rows of 32-bit limbs with ``values`` (object arrays of int) side by side, lowest first."""
    total = np.zeros(len(values[0]), object)
    offset = 0
    for value, width in zip(values, widths, strict=True):
        total = total | (value << offset)
        offset += width
    pieces = limbs(sum(widths))
    out = np.zeros((len(total), pieces), np.uint32)
    for limb in range(pieces):
        out[:, limb] = ((total >> (32 * limb)) & 0xffffffff).astype(np.uint32)
    return out


def round_words(shape, shots, *, erasures=None, raw=False):
    """Rounds of ``shots`` as the decoder takes them.

    Parameters
    ----------
    shape : DecoderShape
    shots : numpy.ndarray
        ``(shots, bases, layers, spaces)``.
    erasures : numpy.ndarray or None
        ``(shots, layers, sites)``.
    raw : bool
        Whether the bits are outcomes, not detection events.

    Returns
    -------
    numpy.ndarray
        uint32, one row per round.
    """
    layout = shape.round_word
    count, _, layers, spaces = shots.shape
    out = np.zeros((count * layers, 32 * limbs(layout.size)), np.uint8)

    def put(name, bits):
        at = layout[name].offset
        out[:, at:at + bits.shape[1]] = bits

    both = np.zeros((count, layers, BASES, 1 << shape.space_bits), np.uint8)
    both[..., :spaces] = shots.transpose(0, 2, 1, 3)
    put("bits", both.reshape(count * layers, -1))
    number = np.tile(np.arange(layers), count)
    put("number", (number[:, None] >> np.arange(32)) & 1)
    put("first", (number == 0)[:, None])
    put("last", (number == layers - 1)[:, None])
    put("raw", np.full((count * layers, 1), raw))
    if erasures is not None:
        put("erased", erasures.reshape(count * layers, -1))
    packed = np.packbits(out, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32)


def _build(shape, waiting, optimisation):
    """Path of the compiled decoder."""
    return build_library(
        "decoder", lambda: Decoder(shape, rounds_waiting=waiting), f"{shape!r} {waiting}",
        harness=Path(__file__).with_suffix(".cpp"), optimisation=optimisation, defines={
            "QC_LOAD_LIMBS": limbs(table_load(shape).size),
            "QC_ROUND_LIMBS": limbs(shape.round_word.size), "QC_WAITING": waiting,
            "QC_TIMING": DecoderRecordKind.TIMING.value})


class FastDecoder:
    """A decoder with an image in it, clocked by C++.

    Parameters
    ----------
    image : DecoderImage
    waiting : int
        Rounds that may wait.
    commit, buffer, reach : int or None
        Settings; the image's own where None.
    correlation, matches : bool
    references : int
    optimisation : int
        0 builds in a third of the time and runs several times slower, for a few thousand rounds.
    """

    def __init__(self, image, *, waiting=512, commit=None, buffer=None, reach=None,
                 correlation=True, matches=True, references=0, optimisation=1):
        self.image = image
        self.shape = image.shape
        library = ctypes.CDLL(str(_build(image.shape, waiting, optimisation)))
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        for name, result, arguments in (
            ("create", pointer, ()), ("destroy", None, (pointer,)), ("reset", None, (pointer,)),
            ("settings", None, (pointer,) + (ctypes.c_int,) * 6),
            ("load", None, (pointer, pointer, size)),
            ("run", size, (pointer, pointer, pointer, pointer, size, ctypes.c_int)
                          + (ctypes.c_uint64,) * 3 + (pointer, pointer, size)
                          + (pointer,) * 3),
            ("clock", ctypes.c_uint64, (pointer,)),
            ("count", ctypes.c_uint64, (pointer, ctypes.c_int)),
            ("stage", ctypes.c_uint64, (pointer, ctypes.c_int, ctypes.c_int)),
        ):
            function = getattr(library, f"qcd_{name}")
            function.restype, function.argtypes = result, arguments
        self._library = library
        self._bench = library.qcd_create()
        settings = {**image.settings, **{name: value for name, value in
                    (("commit", commit), ("buffer", buffer), ("reach", reach))
                    if value is not None}}
        self.commit, self.buffer, self.reach = (settings[k] for k in ("commit", "buffer", "reach"))
        self._settings = (self.commit, self.buffer, self.reach, int(correlation), int(matches),
                          references)
        self.reset()

    def reset(self):
        """Reset, load, enable."""
        self._library.qcd_reset(self._bench)
        self._library.qcd_settings(self._bench, *self._settings)
        layout = table_load(self.shape)
        rows = [(basis, table.value, address, word) for basis in range(BASES) for table in Table
                if self.shape.table_depth(table)
                for address, word in enumerate(self.image.words(basis, table))]
        values = [np.array(column, object) for column in zip(*rows, strict=True)]
        words = _pack(values, [Shape.cast(layout[name].shape).width for name in
                               ("basis", "table", "address", "data")])
        self._library.qcd_load(self._bench, words.ctypes.data, len(words))

    def __del__(self):
        with contextlib.suppress(AttributeError):
            self._library.qcd_destroy(self._bench)

    @property
    def clocks(self):
        """Clocks since it was made."""
        return self._library.qcd_clock(self._bench)

    def counts(self):
        """Rounds accepted, lost, duplicate and missing since the last reset."""
        return {name: self._library.qcd_count(self._bench, index) for index, name in
                enumerate(("accepted", "lost", "duplicates", "missing"))}

    def stages(self):
        """Clocks that each basis has spent in each stage since the last reset."""
        return [{stage: self._library.qcd_stage(self._bench, basis, stage.value)
                 for stage in Stage} for basis in range(BASES)]

    def run(self, words, *, gaps=0, windows, throttle=True, stall=0.0, seed=0, limit=None):
        """Send rounds and collect records until ``windows`` verdicts are there.

        Parameters
        ----------
        words : numpy.ndarray
            From :func:`round_words`.
        gaps : int or array of int
            Clocks between a round and the next one; 0 is a round in every clock.
        windows : int
            Verdicts that will come, of both bases together.
        throttle : bool or array of bool
            Hold rounds back while the queue is full, instead of losing them.
        stall : float
            Chance in a clock that records are refused from now on, for 1, 2, 4 ... or 256 clocks.
        seed : int
            Of the stalls.
        limit : int or None
            Clocks at most.

        Returns
        -------
        Records
        """
        words = np.ascontiguousarray(words, np.uint32)
        gaps = np.ascontiguousarray(np.broadcast_to(gaps, len(words)), np.int32)
        room = 2 * windows + 2 * BASES * len(words) * (1 << self.shape.space_bits)
        room = min(room, 2 * windows + 64 * len(words) + 4096)
        records, times = np.zeros(room, np.uint64), np.zeros(room, np.uint64)
        backlog, fates = np.zeros(len(words), np.int32), np.zeros(len(words), np.uint8)
        hold = np.ascontiguousarray(np.broadcast_to(throttle, len(words)), np.uint8)
        sent = ctypes.c_size_t()
        before = self.clocks
        limit = limit or 100_000 + int(gaps.sum()) + 40_000 * max(windows, 1)
        found = self._library.qcd_run(
            self._bench, words.ctypes.data, gaps.ctypes.data, hold.ctypes.data, len(words),
            round(stall * 65536), seed, windows, limit, records.ctypes.data, times.ctypes.data,
            room, ctypes.addressof(sent), backlog.ctypes.data, fates.ctypes.data)
        records, times = records[:found], times[:found]
        kinds = records >> np.uint64(60)

        def of(kind, layout):
            return columns(layout.as_shape(), records[kinds == kind.value])

        verdicts = of(DecoderRecordKind.VERDICT, VerdictRecord)
        verdicts.update(columns(WindowFlags.as_shape(), verdicts.pop("flags")))
        if len(verdicts["obs"]) < windows:
            raise RuntimeError(f"{len(verdicts['obs'])} of {windows} verdicts came in {limit} "
                               f"clocks; {sent.value} of {len(words)} rounds were sent")
        return Records(
            verdicts=verdicts, timings=of(DecoderRecordKind.TIMING, TimingRecord),
            matches=of(DecoderRecordKind.MATCH, MatchRecord),
            escapes=of(DecoderRecordKind.ESCAPE, EscapeRecord),
            times=times[kinds == DecoderRecordKind.TIMING.value], sent=sent.value,
            backlog=backlog[:sent.value], fates=fates[:sent.value],
            clocks=self.clocks - before)
