"""The streaming decoder: rounds in, corrections out."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.decoder.engine import Engine, frame_word, table_load
from quantacore.gateware.decoder.intake import Intake
from quantacore.gateware.layouts.decoder import (
    BASES,
    DecoderShape,
    Stage,
    TimingRecord,
)
from quantacore.gateware.stream import Merge, connect_streams

__all__ = ["Decoder"]


class Decoder(wiring.Component):
    """Both bases of a memory experiment, decoded as its rounds arrive.

    Rounds may come at any spacing, one per clock at most. They wait in a queue of
    ``rounds_waiting`` while a window is decoded; a round that finds the queue full is lost,
    counted, and taken as free of defects.

    Parameters
    ----------
    shape : DecoderShape
    rounds_waiting : int
        Rounds that may wait.

    Members
    -------
    enable : In(1)
        While 0 rounds are ignored and both lists are emptied at the next window.
    commit, buffer, reach, correlation, matches : In
        Layers that a window commits, layers that it looks ahead, how far from a defect shortcuts
        reach (weight), whether the second pass runs, whether matches are recorded. Change them
        while ``idle``.
    references : In(2)
        For raw rounds: the bases whose first outcomes are determined (0 for every space), so that
        the first round has detection events.
    load, load_valid : In
        A word for a table; write while ``idle``.
    rounds : In(stream)
        Always ready.
    records : Out(stream)
        64-bit records of both bases.
    frame, frame_valid : Out, one for each basis
        Pauli frame: the observables that all windows committed since the shot's first round have
        flipped; ``frame_valid`` is high in the clock in which a window has been added. The flips
        of an observable are those of both bases together.
    timing, timing_valid : Out, one for each basis
        How long that window took, in the same clock (for histograms).
    accepted, lost, missing, duplicates : Out(1)
        High for a clock for a round that was taken, or lost to a full queue; that did not come;
        whose number came before. ``missing_count`` rounds were missing.
    stages : Out, one for each basis
        What its engine is doing, for profiles.
    """

    def __init__(self, shape, *, rounds_waiting=512):
        if not isinstance(shape, DecoderShape):
            raise TypeError(f"shape must be a DecoderShape, not {shape!r}")
        self.shape = shape
        self.rounds_waiting = rounds_waiting
        layers = shape.time_bits + 1
        super().__init__({
            "enable": In(1), "commit": In(layers), "buffer": In(layers), "reach": In(8),
            "correlation": In(1), "matches": In(1), "references": In(BASES),
            "load": In(table_load(shape)), "load_valid": In(1),
            "rounds": In(stream.Signature(shape.round_word, always_ready=True)),
            "records": Out(stream.Signature(64)),
            "frame": Out(frame_word(shape)).array(BASES), "frame_valid": Out(1).array(BASES),
            "timing": Out(TimingRecord).array(BASES), "timing_valid": Out(1).array(BASES),
            "accepted": Out(1), "lost": Out(1), "duplicates": Out(1), "missing": Out(1),
            "missing_count": Out(8),
            "backlog": Out(range(rounds_waiting + 1)), "idle": Out(1),
            "stages": Out(Stage).array(BASES),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape

        m.submodules.intake = intake = Intake(shape)
        engines = []
        for basis in range(BASES):
            engine = Engine(shape, basis=basis, rounds_waiting=self.rounds_waiting)
            m.submodules[f"engine{basis}"] = engine
            engines.append(engine)
            m.d.comb += [
                engine.enable.eq(self.enable), engine.commit.eq(self.commit),
                engine.buffer.eq(self.buffer), engine.reach.eq(self.reach),
                engine.correlation.eq(self.correlation), engine.matches.eq(self.matches),
                engine.load.eq(self.load), engine.load_valid.eq(self.load_valid),
                engine.now.eq(intake.now),
            ]
            connect_streams(m, intake.slices[basis], engine.rounds)
        first, second = engines
        m.d.comb += [
            self.backlog.eq(Mux(first.backlog > second.backlog, first.backlog, second.backlog)),
            self.idle.eq(first.idle & second.idle),
            intake.enable.eq(self.enable), intake.references.eq(self.references),
            self.accepted.eq(intake.accepted), self.lost.eq(intake.lost),
            self.duplicates.eq(intake.duplicate), self.missing.eq(intake.missing),
            self.missing_count.eq(intake.missing_count),
        ]
        connect_streams(m, wiring.flipped(self.rounds), intake.rounds)
        connect_streams(m, first.shortcuts, second.others)
        connect_streams(m, second.shortcuts, first.others)

        m.submodules.records = records = Merge(64)
        for engine, port in zip(engines, records.i, strict=True):
            connect_streams(m, engine.records, port)
        connect_streams(m, records.o, wiring.flipped(self.records))

        for basis, engine in enumerate(engines):
            m.d.comb += [
                self.frame[basis].eq(engine.frame), self.frame_valid[basis].eq(engine.frame_valid),
                self.timing[basis].eq(engine.timing), self.stages[basis].eq(engine.stage),
                self.timing_valid[basis].eq(engine.timing_valid),
            ]
        return m
