"""Registers of the syndrome decoder, and the words of rounds that come over the link."""

from amaranth.hdl import Shape
from amaranth.lib import data

from quantacore.gateware.layouts.decoder import BASES, Table
from quantacore.gateware.layouts.registers import (
    WORD_BITS,
    Access,
    Block,
    Memory,
    Register,
    sticky_registers,
)

__all__ = [
    "LATENCY_BINS", "ROUND_NUMBER_BITS", "LOAD_ADDRESS_BITS", "DecoderControl", "DecoderStatus",
    "DecoderSizes", "LoadAddress", "RoundHeader", "FrameState", "DecoderFlags", "DECODER",
    "load_words", "round_words", "erasure_words", "sizes_of",
]

#: Bins of the latency histogram.
LATENCY_BINS = 64
#: Bits of a round's number in :class:`RoundHeader`.
ROUND_NUMBER_BITS = 28
#: Bits of the address of a table word.
LOAD_ADDRESS_BITS = 24


def _words(bits):
    return -(-bits // WORD_BITS)


def load_words(shape, table):
    """Words of ``load_data`` that make one word of ``table``, low word first."""
    return _words(Shape.cast(shape.table_word(table)).width)


def round_words(shape):
    """Words of one basis' bits in a round."""
    return _words(1 << shape.space_bits)


def erasure_words(shape):
    """Words of the erasure flags in a round whose header says that there are some."""
    return _words(shape.sites)


class DecoderControl(data.Struct):
    """Switches of the decoder. Change them while it is idle."""

    #: Take rounds. While 0 they are ignored, and not counted.
    enable: 1
    #: Run the second pass, with shortcuts from the other basis.
    correlation: 1
    #: Record every committed match.
    matches: 1
    reserved: 5
    #: Raw rounds only: bases whose first outcomes are determined, so that the first round has
    #: detection events.
    references: BASES


class DecoderStatus(data.Struct):
    """What the decoder is doing."""

    #: No window is being decoded. Rounds may wait for more of them.
    idle: 1
    #: Counts are being cleared.
    clearing: 1
    #: Some words of a round have come over the link, and more are to come.
    partial_round: 1


class DecoderSizes(data.Struct):
    """The shape of this build (see ``DecoderShape``); all 0 where there is no decoder."""

    space_bits: 4
    delta_bits: 4
    time_bits: 4
    observables: 4
    #: Logarithm of the list's capacity.
    slot_bits: 4
    cluster: 4
    edge_bits: 4
    shortcut_bits: 4
    event_bits: 4
    correlation: 1
    reserved: 3
    sites: 9


class LoadAddress(data.Struct):
    """Where the next word of ``load_data`` goes."""

    address: LOAD_ADDRESS_BITS
    table: Table
    reserved: 4
    basis: 1


class RoundHeader(data.Struct):
    """First word of a round in ``rounds``."""

    #: Number of the round in its shot.
    number: ROUND_NUMBER_BITS
    #: Words of erasure flags follow the bits.
    erased: 1
    #: The bits are measurement outcomes; otherwise they are detection events.
    raw: 1
    #: The last round of a shot.
    last: 1
    #: The first round of a shot.
    first: 1


class FrameState(data.Struct):
    """One basis' Pauli frame after its last window."""

    #: Observables that the windows of this shot have flipped.
    obs: 8
    #: The shot is over.
    last: 1
    #: Windows since reset; wraps.
    windows: 23
    #: Rounds of the shot that are committed.
    rounds: 32


class DecoderFlags(data.Struct):
    """Things that make corrections worse, or wrong."""

    #: A round found the queue full.
    round_lost: 1
    #: Rounds did not come, and were taken as free of defects.
    round_missing: 1
    #: A round came twice; the second was ignored.
    round_duplicate: 1
    #: A window had more defects than the list holds; the host has to decode them.
    list_overflow: 1
    #: Growth events were dropped; clusters may be smaller than they should be.
    events_dropped: 1
    #: A path in the tables has no end: load the image again.
    walk_error: 1
    #: A word for a table that this build does not have, or behind its end.
    load_refused: 1
    #: A round of the link was overwritten by the next one, because rounds from inside the node
    #: came in every clock.
    link_round_lost: 1


def sizes_of(shape):
    """Fields of :class:`DecoderSizes` for a ``DecoderShape``, as a dictionary of integers."""
    return {
        "space_bits": shape.space_bits, "delta_bits": shape.delta_bits,
        "time_bits": shape.time_bits, "observables": shape.observables,
        "slot_bits": shape.slot_bits, "cluster": shape.cluster, "edge_bits": shape.edge_bits,
        "shortcut_bits": shape.shortcut_bits, "event_bits": shape.event_bits,
        "correlation": int(shape.correlation), "reserved": 0, "sites": shape.sites}


def _count(name, doc, unit):
    return Register(name=name, access=Access.READ_ONLY, doc=doc, unit=unit)


DECODER = Block(
    name="decoder",
    doc="The syndrome decoder. All registers read 0, and none can be written, where the build has "
        "none. Counts stop at the largest number.",
    registers=(
        Register(name="control", shape=DecoderControl, doc="Switches."),
        Register(name="status", shape=DecoderStatus, access=Access.READ_ONLY,
                 doc="What it is doing."),
        Register(name="reset", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to forget all rounds, defects, frames and records that have not left "
                     "yet. Tables, settings and counts stay."),
        Register(name="clear", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to clear all counts of this block and the latency histogram; takes "
                     "a tick for each bin."),
        Register(name="commit", shape=6, unit="layers", doc="Layers that a window commits."),
        Register(name="buffer", shape=6, unit="layers", doc="Layers that a window looks ahead."),
        Register(name="reach", shape=8, unit="weight",
                 doc="How far from a defect shortcuts of the other basis reach."),
        Register(name="latency_shift", shape=4, init=4,
                 doc="A bin of the latency histogram is 2**latency_shift ticks wide; change it "
                     "before a clear."),
        Register(name="shape", shape=DecoderSizes, access=Access.READ_ONLY,
                 doc="What this build holds."),
        Register(name="rounds_waiting", shape=16, access=Access.READ_ONLY, unit="rounds",
                 doc="Rounds that can wait for their window."),
        Register(name="image_id", doc="CRC-32 of the image's file: the host writes 0 before it "
                 "loads the tables, and this after. Means nothing to the node.",
                 init=0),
        Register(name="load_address", shape=LoadAddress, access=Access.WRITE_ONLY,
                 doc="Where the next words of load_data go."),
        Register(name="load_data", access=Access.WRITE_ONLY,
                 doc="Words of a table, one after the other: low word first where a table's word "
                     "has more than 32 bits. Write while the decoder is not enabled."),
        Register(name="load_count", access=Access.READ_ONLY, unit="words",
                 doc="Words of tables stored since load_address was written."),
        Register(name="rounds", access=Access.WRITE_ONLY,
                 doc="Rounds, one after the other: a header, then the bits of basis 0, the bits of "
                     "basis 1 and, if the header says so, the erasure flags, each in whole words, "
                     "lowest first."),
        _count("link_rounds", "Rounds that came over the link.", "rounds"),
        _count("accepted", "Rounds taken.", "rounds"),
        _count("lost", "Rounds lost to a full queue.", "rounds"),
        _count("missing", "Rounds that did not come.", "rounds"),
        _count("duplicates", "Rounds that came twice.", "rounds"),
        _count("verdicts", "Windows decoded, both bases.", "windows"),
        _count("second_passes", "Windows with a second pass.", "windows"),
        _count("escaped_windows", "Windows with a cluster that was too large.", "windows"),
        _count("overflows", "Windows with more defects than the list holds.", "windows"),
        _count("escapes", "Defects handed to the host.", "defects"),
        _count("matches", "Matches recorded.", "matches"),
        Register(name="backlog", shape=16, access=Access.READ_ONLY, unit="rounds",
                 doc="Rounds that wait now, in the basis that has more."),
        Register(name="backlog_max", shape=16, access=Access.READ_ONLY, unit="rounds",
                 doc="Most rounds that waited."),
        Register(name="latency_max", shape=16, access=Access.READ_ONLY, unit="ticks",
                 doc="Longest time from the arrival of a window's last round to its verdict; "
                     "65535 for that or more."),
        Register(name="clocks_max", shape=18, access=Access.READ_ONLY, unit="ticks",
                 doc="Longest time that a window was worked on."),
        Register(name="defects_max", shape=7, access=Access.READ_ONLY, unit="defects",
                 doc="Most defects in a window of one basis."),
        Register(name="frame", shape=FrameState, access=Access.READ_ONLY, count=BASES,
                 doc="Pauli frame of each basis. The flips of an observable are those of both, "
                     "and those of escapes, which only the host knows."),
        *sticky_registers(DecoderFlags),
        Memory(name="latency", depth=LATENCY_BINS, unit="rounds",
               doc="Histogram of latencies: each window adds the layers that it commits, for each "
                   "basis; the last bin has all that is longer. May be read at any time."),
    ),
)
