"""Rounds that a program hands to the decoder."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.decoder import DecoderShape
from quantacore.gateware.layouts.herald import SITES
from quantacore.gateware.layouts.instructions import Op, SynWord
from quantacore.gateware.sequencer.command import Command

__all__ = ["SyndromePort"]

_WORD = 32


class SyndromePort(wiring.Component):
    """Puts a round together from ``SYN`` instructions.

    Bits that no ``SYN`` of the round brought are 0. A site is erased in the round if it was with a
    ``SYN`` of the round that has ``erasures``; the decoder's further sites never are.

    Parameters
    ----------
    shape : DecoderShape

    Members
    -------
    commands : In(stream of Command)
    erased : In(8)
        The herald's erased sites, in the tick of the command.
    rounds : Out(stream of rounds)
        The clock after the command of a ``SYN`` with ``push``.
    """

    def __init__(self, shape):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        super().__init__({
            "commands": In(stream.Signature(Command, always_ready=True)),
            "erased": In(SITES),
            "rounds": Out(stream.Signature(shape.round_word, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        command = self.commands.payload
        syn = SynWord(command.word)
        taken = self.commands.valid & (syn.op == Op.SYN)
        round_ = self.rounds.payload
        # After a round is gone its bits are forgotten, before the first of the next come.
        number, fresh = Signal.like(round_.number), Signal(init=1)
        m.d.sync += self.rounds.valid.eq(taken & syn.push)
        with m.If(taken):
            for bits, brought in zip(round_.bits, (command.a, command.b), strict=True):
                bits = Value.cast(bits)
                for place in range(0, len(bits), _WORD):
                    part = bits[place:place + _WORD]
                    with m.If(syn.word == place // _WORD):
                        m.d.sync += part.eq(brought)
                    with m.Elif(fresh):
                        m.d.sync += part.eq(0)
            sites = min(SITES, len(round_.erased))
            m.d.sync += [
                round_.erased.eq(Mux(fresh, 0, round_.erased)
                                 | Mux(syn.erasures, self.erased[:sites], 0)),
                fresh.eq(syn.push),
            ]
        with m.If(taken & syn.push):
            m.d.sync += [
                round_.number.eq(Mux(syn.first, 0, number)),
                number.eq(Mux(syn.first, 1, number + 1)),
                round_.first.eq(syn.first), round_.last.eq(syn.last), round_.raw.eq(syn.raw),
            ]
        return m
