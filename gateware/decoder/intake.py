"""Takes rounds in, whatever their spacing, and makes detection events of them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.decoder import BASES, ROUND_BITS, DecoderShape

__all__ = ["Intake"]


class Intake(wiring.Component):
    """Checks round numbers, XORs raw rounds with those before them, and splits them by basis.

    Nothing here ever waits: a round that finds a queue full is lost and counted, and the next one
    that is taken says how many are missing before it.

    - A round whose number was seen before (and is not ``first``) is dropped: a duplicate. So is
      one outside a shot: behind a ``last`` round, or where the ``first`` one was lost.
    - Missing rounds are taken as free of defects. More than 255 together end the shot, with one
      round free of defects; the round that shows them is lost.
    - Raw rounds: a detection event is the XOR of an outcome and the one before it. In the first
      round it is the outcome itself in a basis of ``references``, and 0 in the others. A lost
      round is left out of the chain, so the next event is over both.
    - ``first`` in the middle of a shot ends that shot with one round free of defects.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    enable, references : In
    rounds : In(stream)
    slices : Out(stream), one for each basis
    now : Out(16)
        Clocks; the stamp of a round.
    accepted, lost, duplicate, missing : Out(1)
        For a clock each.
    missing_count : Out(8)
        With ``missing``: how many, up to 255.

    Two clocks from ``rounds`` to ``slices``; a round every clock, but for one clock after a shot
    that had to be ended (the round that comes then is lost).
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        super().__init__({
            "enable": In(1), "references": In(BASES),
            "rounds": In(stream.Signature(shape.round_word, always_ready=True)),
            "slices": Out(stream.Signature(shape.round_slice)).array(BASES),
            "now": Out(16),
            "accepted": Out(1), "lost": Out(1), "duplicate": Out(1), "missing": Out(1),
            "missing_count": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        m.d.sync += self.now.eq(self.now + 1)

        # First clock: how far the number is from the one that is due.
        word = Signal(shape.round_word)
        held = Signal()
        due = Signal(ROUND_BITS)
        ahead = Signal(signed(ROUND_BITS + 1))
        # Whether a shot is under way, so that a round that is not its first is wanted.
        open_ = Signal()
        close = Signal()
        can = Signal()
        m.d.comb += can.eq(self.slices[0].ready & self.slices[1].ready)
        previous = Signal.like(word.bits)

        m.d.sync += held.eq(self.rounds.valid & self.enable)
        with m.If(self.rounds.valid):
            m.d.sync += word.eq(self.rounds.payload)
        m.d.comb += ahead.eq(word.number - due)
        behind = Signal()
        far = Signal()
        m.d.comb += [behind.eq(ahead[ROUND_BITS - 1]), far.eq(ahead[8:ROUND_BITS - 1].any())]
        skipped = Signal(8)
        m.d.comb += skipped.eq(Mux(word.first, 0, ahead[:8]))

        send = Signal()
        end = Signal()
        events = Signal.like(word.bits)
        for basis in range(BASES):
            with m.If(~word.raw):
                m.d.comb += events[basis].eq(word.bits[basis])
            with m.Elif(word.first):
                m.d.comb += events[basis].eq(
                    Mux(self.references[basis], word.bits[basis], 0))
            with m.Else():
                m.d.comb += events[basis].eq(word.bits[basis] ^ previous[basis])
            slice_ = self.slices[basis]
            m.d.comb += [
                slice_.valid.eq(send),
                slice_.payload.bits.eq(Mux(end, 0, events[basis])),
                slice_.payload.last.eq(end | word.last),
                slice_.payload.skipped.eq(Mux(end, 0, skipped)),
                slice_.payload.stamp.eq(self.now),
            ]
            if shape.sites:
                m.d.comb += slice_.payload.erased.eq(Mux(end, 0, word.erased))

        with m.If(held):
            with m.If(word.first & open_ & ~close):
                # The shot before has no end. Its last round goes first, this one after it.
                m.d.comb += [end.eq(1), send.eq(can)]
                m.d.sync += [held.eq(1), word.eq(word)]
                m.d.comb += self.lost.eq(self.rounds.valid & self.enable)
                with m.If(can):
                    m.d.sync += close.eq(1)
                with m.Else():
                    # No room for it either: this round is lost, the shot stays open.
                    m.d.comb += self.lost.eq(1)
                    m.d.sync += held.eq(self.rounds.valid & self.enable)
                    with m.If(self.rounds.valid):
                        m.d.sync += word.eq(self.rounds.payload)
            with m.Elif(~word.first & (~open_ | behind)):
                m.d.comb += self.duplicate.eq(1)
            with m.Elif(~word.first & far):
                # Nobody knows any more which round this is. The shot ends here.
                m.d.comb += [
                    end.eq(1), send.eq(can), self.lost.eq(1), self.missing.eq(can),
                    self.missing_count.eq(255),
                ]
                with m.If(can):
                    m.d.sync += open_.eq(0)
            with m.Elif(can):
                m.d.comb += [
                    send.eq(1), self.accepted.eq(1), self.missing.eq(skipped.any()),
                    self.missing_count.eq(skipped),
                ]
                m.d.sync += [
                    due.eq(word.number + 1), open_.eq(~word.last), close.eq(0),
                    previous.eq(word.bits),
                ]
            with m.Else():
                m.d.comb += self.lost.eq(1)
                m.d.sync += close.eq(0)
                with m.If(close):
                    # The shot before has its end, and this one has no beginning.
                    m.d.sync += open_.eq(0)
        with m.If(~self.enable):
            m.d.sync += [open_.eq(0), close.eq(0), held.eq(0)]
        return m
