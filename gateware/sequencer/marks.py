"""Marks: what TAG puts into the record stream."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import Op, TagWord
from quantacore.gateware.layouts.sequencer import MARK_DEPTH, MarkRecord, SequencerRecordKind
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.stream import Queue, connect_streams

__all__ = ["Marks"]


class Marks(wiring.Component):
    """A record for each ``TAG``, and a count of those that found the queue full.

    marks asked for = records + lost; the next record says how many were lost before it.

    Parameters
    ----------
    depth : int
        Marks that may wait.

    Members
    -------
    commands : In(stream of Command)
    tick : In(64)
        The node's time.
    records : Out(stream of 64-bit records)
        Two clocks after the command, if none waits.
    clear : In(1)
        Zero the counts.
    asked, lost : Out(48)
    overflow : Out(1)
        High for one clock for each mark lost.
    """

    def __init__(self, *, depth=MARK_DEPTH):
        if not isinstance(depth, int):
            raise TypeError(f"Depth of the marks' queue must be an integer, not {depth!r}")
        if depth < 2:
            raise ValueError(f"Depth of the marks' queue must be at least 2, not {depth}")
        self.depth = depth
        super().__init__({
            "commands": In(stream.Signature(Command, always_ready=True)),
            "tick": In(64),
            "records": Out(stream.Signature(64)),
            "clear": In(1), "asked": Out(48), "lost": Out(48), "overflow": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(64, depth=self.depth)
        connect_streams(m, queue.o, wiring.flipped(self.records))
        command = self.commands.payload
        tag = TagWord(command.word)
        mark = Signal(MarkRecord)
        wanted, gap = Signal(), Signal.like(mark.lost)
        m.d.sync += [
            wanted.eq(self.commands.valid & (command.word[:6] == Op.TAG.value)),
            mark.code.eq(Mux(tag.register, command.a, tag.code)),
            # The command came a tick after its instruction.
            mark.coarse.eq(self.tick - 1), self.overflow.eq(0),
        ]
        m.d.comb += [
            mark.kind.eq(SequencerRecordKind.MARK), queue.i.valid.eq(wanted),
            queue.i.payload.eq(mark), mark.lost.eq(gap),
        ]
        with m.If(wanted):
            m.d.sync += self.asked.eq(self.asked + 1)
            with m.If(queue.i.ready):
                m.d.sync += gap.eq(0)
            with m.Else():
                m.d.sync += [self.lost.eq(self.lost + 1), self.overflow.eq(1),
                             gap.eq(Mux(gap.all(), gap, gap + 1))]
        with m.If(self.clear):
            m.d.sync += [self.asked.eq(0), self.lost.eq(0)]
        return m
