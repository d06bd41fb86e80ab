"""A golden node with a golden decoder behind its registers, for tests of the host.

Written from docs/decoder-link.md: what the gateware does with the words of the registers, without
time. Rounds have to come in order; a queue is never full.
"""

import numpy as np

from quantacore.gateware.layouts.decoder import (
    BASES,
    NONE,
    DecoderImage,
    DecoderRecordKind,
    EscapeRecord,
    MatchRecord,
    Table,
    TimingRecord,
    VerdictRecord,
)
from quantacore.gateware.layouts.decoder_registers import (
    DecoderControl,
    DecoderSizes,
    FrameState,
    LoadAddress,
    RoundHeader,
    erasure_words,
    load_words,
    round_words,
    sizes_of,
)
from quantacore.sim.golden.decoder.plain import Decoder
from quantacore.sim.golden.endpoint import GoldenEndpoint

__all__ = ["GoldenDecoderEndpoint"]

#: Capability bit of a decoder.
_CAPABILITY = 1 << 5
#: What every window is said to take.
LATENCY_TICKS = 100


class GoldenDecoderEndpoint(GoldenEndpoint):
    """A golden endpoint whose node has a decoder.

    Parameters
    ----------
    shape : DecoderShape
    """

    def __init__(self, shape, **options):
        self.shape = shape
        self.tables = {}
        super().__init__(**options)
        self.on_write = self._written

    def reset(self):
        """As of a node; tables are forgotten too."""
        super().reset()
        self.set("identity.capabilities", self.get("identity.capabilities") | _CAPABILITY)
        self.set("decoder.shape", DecoderSizes.const(sizes_of(self.shape)).as_bits())
        self.set("decoder.rounds_waiting", 512)
        self.set("decoder.status", 1)
        self.tables = {}
        self._place = LoadAddress.from_bits(0)
        self._low = None
        self._forget()

    def _forget(self):
        self._pending = []
        self._decoder = None
        self._previous = None
        for basis in range(BASES):
            self.set("decoder.frame", 0, basis)

    def _written(self, name, _index, value):
        block, _, register = name.partition(".")
        handler = getattr(self, f"_on_{register}", None) if block == "decoder" else None
        if handler is not None:
            handler(value)

    def _bump(self, name, number=1):
        self.set(f"decoder.{name}", self.get(f"decoder.{name}") + number)

    def _on_reset(self, value):
        if value & 1:
            self._forget()

    def _on_clear(self, value):
        if value & 1:
            for name in ("link_rounds", "accepted", "verdicts", "escaped_windows", "overflows",
                         "escapes", "matches", "latency_max"):
                self.set(f"decoder.{name}", 0)
            for bin_ in range(64):
                self.set("decoder.latency", 0, bin_)

    # Tables.

    def _on_load_address(self, value):
        place = LoadAddress.from_bits(value)
        self._table = place.basis, Table(place.table)
        self._at, self._low = place.address, None
        self.set("decoder.load_count", 0)

    def _on_load_data(self, value):
        if load_words(self.shape, self._table[1]) == 2:
            if self._low is None:
                self._low = value
                return
            value, self._low = self._low | value << 32, None
        words = self.tables.setdefault(
            self._table, [NONE if self._table[1] in (Table.PAIR, Table.BOUND) else 0]
            * self.shape.table_depth(self._table[1]))
        words[self._at] = value
        self._at += 1
        self._bump("load_count")

    # Rounds.

    def _on_rounds(self, value):
        self._pending.append(value)
        header = RoundHeader.from_bits(self._pending[0])
        each = round_words(self.shape)
        length = 1 + BASES * each + (erasure_words(self.shape) if header.erased else 0)
        if len(self._pending) < length:
            return
        words, self._pending = self._pending[1:], []

        def places(some):
            bits = sum(word << 32 * number for number, word in enumerate(some))
            return {place for place in range(32 * len(some)) if bits >> place & 1}

        self._bump("link_rounds")
        control = DecoderControl.from_bits(self.get("decoder.control"))
        if not control.enable:
            return
        self._bump("accepted")
        if header.first or self._decoder is None:
            self._decoder = Decoder(
                DecoderImage(self.shape, self.tables, {}, {}), commit=self.get("decoder.commit"),
                buffer=self.get("decoder.buffer"), reach=self.get("decoder.reach"),
                correlation=bool(control.correlation))
            self._flips = [0] * BASES
            self._previous = [None if not control.references >> basis & 1 else set()
                              for basis in range(BASES)]
        defects = []
        for basis in range(BASES):
            bits = places(words[basis * each:(basis + 1) * each])
            before = self._previous[basis]
            defects.append(bits if not header.raw else bits ^ (bits if before is None else before))
            self._previous[basis] = bits
        for verdict in self._decoder.feed(defects, places(words[BASES * each:]),
                                          last=bool(header.last)):
            self._verdict(verdict, control)

    def _verdict(self, verdict, control):
        records = []

        def record(layout, kind, **values):
            records.append(layout.const({**values, "basis": verdict.basis, "kind": kind})
                           .as_bits())

        for layer, space in verdict.escapes:
            record(EscapeRecord, DecoderRecordKind.ESCAPE, space=space, round=layer)
        if control.matches:
            for match in verdict.matches:
                other = match.b or match.a
                record(MatchRecord, DecoderRecordKind.MATCH, space=match.a[1], round=match.a[0],
                       other_space=other[1] if match.b else 0, delta=other[0] - match.a[0],
                       boundary=match.b is None, obs=match.obs)
            self._bump("matches", len(verdict.matches))
        record(VerdictRecord, DecoderRecordKind.VERDICT, obs=verdict.flips,
               largest=min(verdict.largest, 15), layers=verdict.committed, round=verdict.first,
               flags={"overflow": verdict.overflow, "escaped": bool(verdict.escapes),
                      "last": verdict.last, "events_dropped": verdict.events_dropped,
                      "walk_error": verdict.walk_error})
        record(TimingRecord, DecoderRecordKind.TIMING, latency=LATENCY_TICKS,
               clocks=LATENCY_TICKS, defects=verdict.defects)
        assert self.push_records(np.array(records, np.uint64)) == len(records)
        self._flips[verdict.basis] ^= verdict.flips
        self.set("decoder.frame", FrameState.const({
            "obs": self._flips[verdict.basis], "last": verdict.last,
            "rounds": verdict.first + verdict.committed}).as_bits(), verdict.basis)
        self._bump("verdicts")
        self._bump("escapes", len(verdict.escapes))
        self._bump("escaped_windows", bool(verdict.escapes))
        self._bump("overflows", verdict.overflow)
        self.set("decoder.latency_max", LATENCY_TICKS)
        bin_ = min(LATENCY_TICKS >> self.get("decoder.latency_shift"), 63)
        self.set("decoder.latency", self.get("decoder.latency", bin_) + verdict.committed, bin_)
