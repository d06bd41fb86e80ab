"""Compares what the sequencer's engine did in a probe with what the golden model says."""

from itertools import chain

import numpy as np
from amaranth.hdl import Shape

from quantacore.gateware.layouts.instructions import REGISTERS, AnyInstruction, Fault
from quantacore.gateware.layouts.sequencer import START_TICKS, SequencerState
from quantacore.sim.bench.sequencer_probe import (
    NEVER,
    ROW_WORDS,
    RowTarget,
    Run,
    RunResult,
    TraceEntry,
    WorldEvent,
    delta,
    herald,
    signatures,
)
from quantacore.sim.golden.sequencer import SequencerModel, fields

__all__ = ["batch_rows", "unpack_results", "unpack_trace", "BatchModel"]


def _layout(shape):
    return [(name, field.offset, (1 << Shape.cast(field.shape).width) - 1)
            for name, field in shape.as_shape()]


#: A stop so soon after an instruction may forestall the end that comes of it.
_END_TICKS = 8
_RD = AnyInstruction.as_shape()["rd"].offset
_OFFSETS = {layout: {name: offset for name, offset, _ in _layout(layout)}
            for layout in (WorldEvent, Run)}
_RESULT, _ENTRY = _layout(RunResult), _layout(TraceEntry)
_RESULT_BITS, _ENTRY_BITS = RunResult.as_shape().size, TraceEntry.as_shape().size


def _pack(layout, **values):
    offsets = _OFFSETS[layout]
    word = 0
    for name, value in values.items():
        word |= int(value) << offsets[name]
    return word


def _event(event):
    time, triggers, peers, verdict, frames = event
    offsets = _OFFSETS[WorldEvent]
    word = time | triggers << offsets["triggers"] | peers << offsets["peers"]
    if verdict is not None:
        word |= verdict << offsets["verdict"] | 1 << offsets["verdict_valid"]
    for basis, frame in enumerate(frames):
        if frame is not None:
            word |= (1 << offsets["frame_valid"] + basis | frame[0] << offsets[f"frame_{basis}"]
                     | frame[1] << offsets["frame_last"] + basis)
    return word


def batch_rows(batch):
    """Rows that load ``batch`` into a probe: ``(RowTarget, address, int)``."""
    events, runs = [], []
    for run in batch.runs:
        word = _pack(
            Run, pc=run.pc, event=len(events), gap=run.gap,
            stop=NEVER if run.stop is None else run.stop,
            timed=run.release is not None, release=run.release or 0,
            preset=run.preset is not None, preset_index=(run.preset or (0, 0))[0],
            preset_value=(run.preset or (0, 0))[1])
        runs += [word & (1 << 64) - 1, word >> 64]
        events += map(_event, run.events)
        events.append(NEVER)
    for target, words in ((RowTarget.PROGRAM, batch.words), (RowTarget.EVENTS, events),
                          (RowTarget.RUNS, runs)):
        data = np.array(words, np.uint64).tobytes()
        for address in range(-(-len(words) // ROW_WORDS)):
            yield target, address, int.from_bytes(
                data[address * ROW_WORDS * 8:(address + 1) * ROW_WORDS * 8], "little")


def _unpack(layout, value):
    return {name: value >> offset & mask for name, offset, mask in layout}


def unpack_results(value, count):
    """The first ``count`` results of a probe's ``results``, as dicts of int."""
    return [_unpack(_RESULT, value >> k * _RESULT_BITS) for k in range(count)]


def unpack_trace(value, count):
    """The first ``count`` commands of a probe's ``trace``: ``(tick, word, a, b)``."""
    entries = [_unpack(_ENTRY, value >> k * _ENTRY_BITS) for k in range(count)]
    return [(entry["tick"], entry["word"], entry["a"], entry["b"]) for entry in entries]


def show_command(command):
    """A command for people."""
    tick, word, a, b = command
    op, found = fields(word)
    about = " ".join(f"{name}={value}" for name, value in found.items()
                     if name != "op" and "reserved" not in name)
    return f"{tick:#x} {op.name if op else word} {about} a={a:#x} b={b:#x}"


class BatchModel:
    """The golden model of a node on which batches are run one after the other.

    Attributes
    ----------
    model : SequencerModel
    commands : list
        Commands of the batch that was compared last.
    runs, ticks, issued : int
        Runs compared, their ticks, and their commands.
    """

    def __init__(self):
        self.model = SequencerModel()
        self.commands = []
        self.runs = self.ticks = self.issued = 0

    def differences(self, batch, results):
        """What is different in the first run that differs, as a list of text.

        Parameters
        ----------
        batch : Batch
        results : list of dict
            One :class:`RunResult` per run.
        """
        model = self.model
        model.load(batch.words)
        commands, ends, expected = [], [], []
        for run, result in zip(batch.runs, results, strict=True):
            begun = result["begun"]
            if run.preset is not None:
                model.registers[run.preset[0]] = run.preset[1]
            code = model.halt_code
            until = begun + (NEVER if run.stop is None else run.stop + 1)
            # One that is stopped before its first instruction leaves `started` as it was.
            first = result["started"] if result["started"] > begun else until
            model.start(first, run.world(begun, delta, herald), pc=run.pc, since=begun + 1)
            model.advance(until)
            model.leave(result["ended"])
            commands += model.commands
            ends.append(len(commands))
            about = {"waited": model.waited, "barrier": model.barrier}
            if run.release is not None and result["started"] > begun:
                about["started"] = begun + run.release + START_TICKS
            if model.state is SequencerState.RUNNING:
                about |= {"halted": 0, "fault": Fault.NONE.value, "halt_code": code}
            elif max(model.stopped, model.wait_ended) + _END_TICKS < until:
                about |= {"halted": int(model.state is SequencerState.HALTED),
                          "fault": model.fault.value, "halt_code": model.halt_code,
                          "stopped": model.stopped}
            elif result["halt_code"] in (code, model.halt_code):
                # Which of two ends comes first is left open. (A halt may show a clock late.)
                model.halt_code = None
            if model.commands:
                about["pc"] = model.pc
                rd = model.commands[-1][1] >> _RD & REGISTERS - 1
                if model.waiting:
                    # What a wait that is stopped leaves in its register is not said.
                    model.registers[rd] = result["register"]
                elif "stopped" in about:
                    about["register"] = model.registers[rd]
            if about.get("halt_code", 0) is None:
                del about["halt_code"]
                model.halt_code = result["halt_code"]
            expected.append(about)
            self.ticks += result["ended"] - begun
        self.commands = commands
        self.runs += len(results)
        self.issued += len(commands)
        columns = np.fromiter(chain.from_iterable(commands), np.uint64, 4 * len(commands))
        sums = [0, *signatures(*columns.reshape(-1, 4).T).tolist()]
        for i, (result, end, about) in enumerate(zip(results, ends, expected, strict=True)):
            about |= {"commands": end, "signature": sums[end]}
            differing = [f"run {i} {name}: engine {result[name]:#x}, model {value:#x}"
                         for name, value in about.items() if result[name] != value]
            if differing:
                return differing
        return []
