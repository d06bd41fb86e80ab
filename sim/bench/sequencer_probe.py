"""The sequencer's engine with programs and a world around it, for runs without Python's help.

A batch of programs, what happens in the world of each, and how each is started and stopped go into
memories of the probe, a row at a time. The probe then runs one program after the other and keeps
how each ended and a signature of all commands, in which every bit of every command and of its tick
counts; and the commands themselves, as far as there is room.
"""

import numpy as np
from amaranth import *
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import PROGRAM_DEPTH, Fault, LdtWord, Source
from quantacore.gateware.sequencer.engine import Engine

__all__ = [
    "ROW_WORDS", "RUNS", "TRACE_DEPTH", "RESULTS_SHOWN", "TRACE_SHOWN", "NEVER", "RowTarget",
    "WorldEvent", "Run", "RunResult", "TraceEntry", "SequencerProbe", "delta", "herald",
    "signatures",
]

#: Words of 64 bits that are written at once.
ROW_WORDS = 16
#: Rows of each memory.
_ROWS = PROGRAM_DEPTH // ROW_WORDS
#: Runs of a batch, at most.
RUNS = 128
#: Commands that are kept.
TRACE_DEPTH = 4096
#: Results, and commands, that are shown at once.
RESULTS_SHOWN = 2
TRACE_SHOWN = 2
#: Time of an event that does not come, and of a stop that is not wanted.
NEVER = (1 << 20) - 1

_K = [0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD]
_DELTA_K = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35
#: Factor and width of what the herald shows.
_HERALD = {Source.CLICKED: (0x9E3779B1, 32), Source.SITES: (0x85EBCA6B, 16),
           Source.HERALD_FRAME: (0xC2B2AE35, 8), Source.ATTEMPT: (0x27D4EB2F, 32)}


class RowTarget(enum.Enum, shape=2):
    """Memory that a row is written to."""

    PROGRAM = 0
    EVENTS = 1
    RUNS = 2


class WorldEvent(data.Struct):
    """From tick ``time`` of a run on levels are these; verdict and frames are there in it alone."""

    time: 20
    triggers: 8
    peers: 8
    verdict: 4
    verdict_valid: 1
    frame_valid: 2
    frame_last: 2
    frame_0: 8
    frame_1: 8
    reserved: 3


class Run(data.Struct):
    """One run of a program. Ticks are counted from that of ``start``, the run's tick 0."""

    pc: 12
    #: First event of this run's world; the last one has the time NEVER.
    event: 12
    #: Tick in which it is stopped.
    stop: 20
    #: Tick of ``release``, with ``timed``.
    release: 12
    timed: 1
    #: Write ``preset_value`` before the start.
    preset: 1
    preset_index: 4
    #: Clocks before the start, beside the two in which the last run's end is seen.
    gap: 4
    preset_value: 32
    reserved: 42


class RunResult(data.Struct):
    """How a run ended."""

    #: Tick of ``start``.
    begun: 64
    started: 64
    stopped: 64
    #: Of all commands of the batch up to then.
    signature: 64
    waited: 32
    #: Commands of the batch up to then.
    commands: 32
    halt_code: 16
    pc: 12
    fault: Fault
    halted: 1
    barrier: 1
    reserved: 6
    #: First tick in which it did not run; the world stood still from then on.
    ended: 64
    #: The data register that the last command has in its field `rd`.
    register: 32


class TraceEntry(data.Struct):
    """A command, with the low half of the tick in which it was issued."""

    tick: 32
    a: 32
    b: 32
    word: 64


def delta(first, second, tick):
    """Difference of two photons' times that the probe answers in ``tick``: any number will do."""
    value = tick * _DELTA_K[0] + first * _DELTA_K[1] + second * _DELTA_K[2] & 0xFFFFFFFF
    return value - ((value & 1 << 31) << 1)


def herald(source, tick):
    """What the probe's herald shows in ``tick`` for a source of ``GET``: any number will do."""
    factor, width = _HERALD[source]
    return (tick * factor & 0xFFFFFFFF) >> 32 - width


def signatures(ticks, words, a, b):
    """Running sums of what each command adds to the signature.

    Parameters
    ----------
    ticks, words, a, b : numpy.ndarray
        Columns of commands, uint64.

    Returns
    -------
    numpy.ndarray
        uint64, of the same length.
    """
    k = [np.uint64(value) for value in _K]
    x = words ^ ticks * k[0]
    x = (x ^ x >> np.uint64(32)) * k[1]
    x = x + (a | b << np.uint64(32)) * k[2]
    x = (x ^ x >> np.uint64(29)) * k[3]
    return np.cumsum(x ^ x >> np.uint64(32), dtype=np.uint64)


def _product(value, factor, width=64):
    return (value * C(factor, width))[:width]


class SequencerProbe(wiring.Component):
    """Loads rows, runs batches, shows results.

    Members
    -------
    tick_load : In(1), tick_value : In(64)
        Set the tick counter.
    row_write : In(1), row_target : In(RowTarget), row_address : In(8), row : In(1024)
        Write a row of 16 words of 64 bits. :class:`Run` takes two words.
    go : In(1), count : In(8)
        Run the first ``count`` runs, one after the other; ``go`` is high for one clock.
    done : Out(1)
        The batch is over. High until the next ``go``.
    runs_done : Out(8)
        Runs that are over.
    results_address : In(6), results : Out(2 * 456)
        :class:`RunResult` of two runs.
    kept_address : In(11), kept : Out(2 * 160)
        Two commands of the batch.
    commands : Out(32)
        Commands of the batch up to now; more than TRACE_DEPTH are counted, but not kept.
    data_index : In(4), data_value : Out(32)
        Look at a data register, while ``done``.
    clear, clearing
        As of the engine; ``clear`` comes with a stop.
    """

    tick_load: In(1)
    tick_value: In(64)
    row_write: In(1)
    row_target: In(RowTarget)
    row_address: In(range(_ROWS))
    row: In(64 * ROW_WORDS)
    go: In(1)
    count: In(8)
    done: Out(1, init=1)
    runs_done: Out(8)
    results_address: In(range(RUNS // RESULTS_SHOWN))
    results: Out(RESULTS_SHOWN * RunResult.as_shape().size)
    kept_address: In(range(TRACE_DEPTH // TRACE_SHOWN))
    kept: Out(TRACE_SHOWN * TraceEntry.as_shape().size)
    commands: Out(32)
    data_index: In(4)
    data_value: Out(32)
    clear: In(1)
    clearing: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = Engine()
        tick = Signal(64)
        m.d.sync += tick.eq(Mux(self.tick_load, self.tick_value, tick + 1))
        m.d.comb += [engine.tick.eq(tick), self.data_value.eq(engine.data_value),
                     self.clearing.eq(engine.clearing)]

        def rows(target, depth=_ROWS):
            m.submodules[f"rows_{target.name.lower()}"] = store = memory.Memory(
                shape=64 * ROW_WORDS, depth=depth, init=[])
            write, read = store.write_port(), store.read_port(domain="comb")
            m.d.comb += [write.addr.eq(self.row_address), write.data.eq(self.row),
                         write.en.eq(self.row_write & (self.row_target == target))]
            return read

        program = rows(RowTarget.PROGRAM)
        within = (ROW_WORDS - 1).bit_length()
        m.d.comb += program.addr.eq(engine.address[within:])
        with m.If(engine.read):
            m.d.sync += engine.data.eq(program.data.word_select(engine.address[:within], 64))

        # ------------------------------------------------ runs
        index = Signal(range(RUNS + 1))
        runs = rows(RowTarget.RUNS, RUNS * 2 // ROW_WORDS)
        run = Signal(Run)
        m.d.comb += [runs.addr.eq(index[within - 1:]),
                     Value.cast(run).eq(runs.data.word_select(index[:within - 1], 128))]
        since, gap = Signal(20), Signal(4)
        event_at = Signal(12)
        begun = Signal(64)
        m.d.comb += [
            engine.start_pc.eq(run.pc), engine.timed.eq(run.timed),
            engine.preset_index.eq(run.preset_index), engine.preset_value.eq(run.preset_value),
            self.runs_done.eq(index),
        ]
        m.d.sync += since.eq(since + 1)
        over = Signal()

        with m.FSM() as fsm:
            with m.State("IDLE"):
                with m.If(self.go):
                    m.d.sync += [self.done.eq(0), index.eq(0), gap.eq(0), event_at.eq(0)]
                    m.next = "GAP"
            with m.State("GAP"):
                m.d.sync += gap.eq(gap + 1)
                m.d.comb += engine.preset.eq(run.preset & (gap == 0))
                with m.If(gap == run.gap):
                    m.d.sync += gap.eq(0)
                    m.next = "START"
            with m.State("START"):
                m.d.comb += engine.start.eq(1)
                m.d.sync += [since.eq(1), begun.eq(tick)]
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += engine.stop.eq(since == run.stop)
                with m.If(~engine.running):
                    m.d.comb += over.eq(1)
                    m.d.sync += index.eq(index + 1)
                    with m.If(index + 1 == self.count):
                        m.d.sync += self.done.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "GAP"
        with m.If(self.clear):
            m.d.comb += [engine.stop.eq(1), engine.clear.eq(1)]
        m.d.comb += engine.release.eq(fsm.ongoing("RUN") & (since == run.release))

        # ------------------------------------------------ the world
        events = rows(RowTarget.EVENTS)
        event = Signal(WorldEvent)
        here, levels = Signal(), Signal(WorldEvent)
        time = Signal(20)
        started = fsm.ongoing("START")
        m.d.comb += [
            events.addr.eq(event_at[within:]),
            Value.cast(event).eq(events.data.word_select(event_at[:within], 64)),
            time.eq(Mux(started, 0, since)),
            here.eq((started | fsm.ongoing("RUN") & engine.running) & (event.time == time)
                    & (event.time != NEVER)),
        ]
        with m.If(here):
            m.d.sync += [levels.eq(event), event_at.eq(event_at + 1)]
        with m.Elif(fsm.ongoing("GAP")):
            m.d.sync += [event_at.eq(run.event), levels.eq(0)]
        m.d.comb += [
            engine.triggers.eq(Mux(here, event.triggers, levels.triggers)),
            engine.peers.eq(Mux(here, event.peers, levels.peers)),
            engine.verdict_valid.eq(here & event.verdict_valid),
            engine.verdict.eq(event.verdict),
            engine.frame_valid.eq(Mux(here, event.frame_valid, 0)),
            engine.frame_last.eq(event.frame_last),
            engine.frame[0].eq(event.frame_0), engine.frame[1].eq(event.frame_1),
        ]
        pair = Signal(LdtWord)
        command = engine.command.payload
        with m.If(engine.command.valid):
            m.d.sync += pair.eq(command.word)
        m.d.comb += [
            engine.delta.eq(
                (_product(tick, _DELTA_K[0], 32) + _product(pair.first, _DELTA_K[1], 32)
                 + _product(pair.second, _DELTA_K[2], 32))[:32].as_signed()),
            engine.data_index.eq(Mux(self.done, self.data_index, pair.rd)),
        ]

        for source, (factor, width) in _HERALD.items():
            m.d.comb += getattr(engine, source.name.lower()).eq(
                _product(tick, factor, 32)[32 - width:])

        # ------------------------------------------------ what came out
        issued = Signal(64)
        m.d.comb += issued.eq(tick - 1)
        x = command.word ^ _product(issued, _K[0])
        x_1, x_2, x_3, x_4 = (Signal(64, name=f"mix_{i}") for i in range(4))
        signature, signature_now = Signal(64), Signal(64)
        commands_now = Signal(32)
        m.d.comb += [
            x_1.eq(x),
            x_2.eq(_product(x_1 ^ x_1 >> 32, _K[1])),
            x_3.eq(x_2 + _product(Cat(command.a, command.b), _K[2])),
            x_4.eq(_product(x_3 ^ x_3 >> 29, _K[3])),
            signature_now.eq(signature), commands_now.eq(self.commands),
        ]
        with m.If(engine.command.valid):
            m.d.comb += [signature_now.eq(signature + (x_4 ^ x_4 >> 32)),
                         commands_now.eq(self.commands + 1)]
        m.d.sync += [signature.eq(signature_now), self.commands.eq(commands_now)]
        with m.If(self.go & self.done):
            m.d.sync += [signature.eq(0), self.commands.eq(0)]

        result = Signal(RunResult)
        m.d.comb += [
            result.begun.eq(begun), result.started.eq(engine.started),
            result.stopped.eq(engine.stopped), result.signature.eq(signature_now),
            result.commands.eq(commands_now), result.waited.eq(engine.waited),
            result.halt_code.eq(engine.halt_code), result.pc.eq(engine.pc),
            result.fault.eq(engine.fault), result.halted.eq(engine.halted),
            result.barrier.eq(engine.barrier), result.ended.eq(tick),
            result.register.eq(engine.data_value),
        ]

        def banks(name, depth, count, value, address, enable, read_address, out):
            """``count`` memories side by side, written in turns and read together."""
            value, width = Value.cast(value), len(Value.cast(value))
            low = (count - 1).bit_length()
            for k in range(count):
                m.submodules[f"{name}_{k}"] = bank = memory.Memory(
                    shape=width, depth=depth // count, init=[])
                write, read = bank.write_port(), bank.read_port(domain="comb")
                m.d.comb += [
                    write.addr.eq(address[low:]), write.data.eq(value),
                    write.en.eq(enable & (address[:low] == k)),
                    read.addr.eq(read_address), out[k * width:(k + 1) * width].eq(read.data),
                ]

        banks("result", RUNS, RESULTS_SHOWN, result, index[:7], over, self.results_address,
              self.results)
        entry = Signal(TraceEntry)
        m.d.comb += [entry.tick.eq(issued), entry.word.eq(command.word), entry.a.eq(command.a),
                     entry.b.eq(command.b)]
        banks("trace", TRACE_DEPTH, TRACE_SHOWN, entry, self.commands[:12],
              engine.command.valid & (self.commands < TRACE_DEPTH), self.kept_address, self.kept)
        return m
