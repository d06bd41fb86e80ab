"""The words that travel: every size and offset, pinned."""

import enum

import pytest
from amaranth.hdl import Shape
from amaranth.lib import data

from quantacore.gateware.layouts import (
    decoder,
    decoder_registers,
    frames,
    herald,
    identity,
    instructions,
    peer,
    sequencer,
    switches,
    tagger,
    tags,
    timing,
    virtual,
)
from quantacore.gateware.layouts.link import LinkFlags

#: Structure: bits, then (field, offset, bits).
STRUCTS = {
    tags.TagRecord: (64, [("fine", 0, 13), ("coarse", 13, 40), ("falling", 53, 1),
                          ("channel", 54, 6), ("kind", 60, 4)]),
    tags.EpochRecord: (64, [("epoch", 0, 24), ("reserved", 24, 36), ("kind", 60, 4)]),
    tags.LostRecord: (64, [("count", 0, 32), ("reserved", 32, 22), ("cause", 54, 6),
                           ("kind", 60, 4)]),
    frames.FrameHeader: (80, [("version", 0, 8), ("channel", 8, 8), ("session", 16, 16),
                              ("seq", 32, 16), ("op", 48, 7), ("answer", 55, 1),
                              ("count", 56, 8), ("argument", 64, 16)]),
    identity.Protocol: (32, [("link", 0, 8), ("layout", 8, 8), ("reserved", 16, 16)]),
    frames.CreditFlags: (2, [("rewind", 0, 1), ("keep", 1, 1)]),
    identity.Capabilities: (32, [("fine", 0, 1), ("histogram", 1, 1), ("discipline", 2, 1),
                                 ("uart", 3, 1), ("simulated", 4, 1), ("decoder", 5, 1),
                                 ("sequencer", 6, 1), ("herald", 7, 1), ("switches", 8, 1),
                                 ("peers", 9, 1),
                                 ("reserved", 10, 22)]),
    identity.Geometry: (32, [("channels", 0, 8), ("samples", 8, 8), ("buffer_depth_log2", 16, 8),
                             ("bins_log2", 24, 8)]),
    decoder.WindowFlags: (8, [("overflow", 0, 1), ("escaped", 1, 1), ("events_dropped", 2, 1),
                              ("walk_error", 3, 1), ("gap", 4, 1), ("last", 5, 1),
                              ("second_pass", 6, 1), ("reserved", 7, 1)]),
    decoder.VerdictRecord: (64, [("obs", 0, 8), ("flags", 8, 8), ("largest", 16, 4),
                                 ("layers", 20, 6), ("basis", 26, 1), ("reserved", 27, 1),
                                 ("round", 28, 32), ("kind", 60, 4)]),
    decoder.TimingRecord: (64, [("latency", 0, 16), ("clocks", 16, 18), ("backlog", 34, 12),
                                ("defects", 46, 7), ("basis", 53, 1), ("reserved", 54, 6),
                                ("kind", 60, 4)]),
    decoder.MatchRecord: (64, [("space", 0, 8), ("round", 8, 24), ("other_space", 32, 8),
                               ("delta", 40, 5), ("boundary", 45, 1), ("obs", 46, 8),
                               ("basis", 54, 1), ("reserved", 55, 5), ("kind", 60, 4)]),
    decoder.EscapeRecord: (64, [("space", 0, 8), ("round", 8, 32), ("basis", 40, 1),
                                ("reserved", 41, 19), ("kind", 60, 4)]),
    decoder_registers.DecoderControl: (10, [("enable", 0, 1), ("correlation", 1, 1),
                                            ("matches", 2, 1), ("reserved", 3, 5),
                                            ("references", 8, 2)]),
    decoder_registers.DecoderStatus: (3, [("idle", 0, 1), ("clearing", 1, 1),
                                          ("partial_round", 2, 1)]),
    decoder_registers.DecoderSizes: (49, [
        ("space_bits", 0, 4), ("delta_bits", 4, 4), ("time_bits", 8, 4), ("observables", 12, 4),
        ("slot_bits", 16, 4), ("cluster", 20, 4), ("edge_bits", 24, 4), ("shortcut_bits", 28, 4),
        ("event_bits", 32, 4), ("correlation", 36, 1), ("reserved", 37, 3), ("sites", 40, 9)]),
    decoder_registers.LoadAddress: (32, [("address", 0, 24), ("table", 24, 3), ("reserved", 27, 4),
                                         ("basis", 31, 1)]),
    decoder_registers.RoundHeader: (32, [("number", 0, 28), ("erased", 28, 1), ("raw", 29, 1),
                                         ("last", 30, 1), ("first", 31, 1)]),
    decoder_registers.FrameState: (64, [("obs", 0, 8), ("last", 8, 1), ("windows", 9, 23),
                                        ("rounds", 32, 32)]),
    instructions.AnyInstruction: (64, [("op", 0, 6), ("dwell", 6, 14), ("channel", 20, 3),
        ("low", 23, 25), ("rb", 48, 4), ("rd", 52, 4), ("middle", 56, 4), ("ra", 60, 4)]),
    instructions.NopWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("more", 20, 32),
        ("reserved", 52, 12)]),
    instructions.SetWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 12),
        ("value", 32, 16), ("mask", 48, 16)]),
    instructions.PulseWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("channel", 20, 3),
        ("amplitude_register", 23, 1), ("wave_register", 24, 1), ("reserved", 25, 3),
        ("defer", 28, 8), ("amplitude", 36, 16), ("reserved_2", 52, 3), ("wave", 55, 9)]),
    instructions.FreqWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("channel", 20, 3),
        ("registers", 23, 1), ("continuous", 24, 1), ("reserved", 25, 3), ("word", 28, 36)]),
    instructions.PhaseWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("channel", 20, 3),
        ("register", 23, 1), ("add", 24, 1), ("reserved", 25, 7), ("value", 32, 32)]),
    instructions.OffsetWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("channel", 20, 3),
        ("register", 23, 1), ("reserved", 24, 24), ("value", 48, 16)]),
    instructions.SwitchWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 3),
        ("register", 23, 1), ("reserved_2", 24, 32), ("route", 56, 8)]),
    instructions.DelayWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 40),
        ("ra", 60, 4)]),
    instructions.UntilWord: (64, [("op", 0, 6), ("registers", 6, 1), ("reserved", 7, 9),
        ("time", 16, 48)]),
    instructions.WaitWord: (64, [("op", 0, 6), ("mode", 6, 2), ("target", 8, 12),
        ("timeout", 20, 32), ("rd", 52, 4), ("mask", 56, 8)]),
    instructions.LoopWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 3),
        ("register", 23, 1), ("span", 24, 12), ("count", 36, 28)]),
    instructions.JumpWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("target", 20, 12),
        ("reserved", 32, 20), ("pop", 52, 3), ("reserved_2", 55, 9)]),
    instructions.BranchWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("target", 20, 12),
        ("value", 32, 16), ("rb", 48, 4), ("pop", 52, 3), ("reserved", 55, 1),
        ("condition", 56, 3), ("immediate", 59, 1), ("ra", 60, 4)]),
    instructions.HaltWord: (64, [("op", 0, 6), ("reserved", 6, 42), ("code", 48, 16)]),
    instructions.ArmWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 40),
        ("windows", 60, 4)]),
    instructions.LdtWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 22),
        ("second", 42, 5), ("reserved_2", 47, 5), ("rd", 52, 4), ("reserved_3", 56, 3),
        ("first", 59, 5)]),
    instructions.LiWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("value", 20, 32), ("rd", 52, 4),
        ("reserved", 56, 8)]),
    instructions.AluWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("value", 20, 20),
        ("immediate", 40, 1), ("shift", 41, 5), ("reserved", 46, 2), ("rb", 48, 4), ("rd", 52, 4),
        ("function", 56, 4), ("ra", 60, 4)]),
    instructions.GetWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 32),
        ("rd", 52, 4), ("reserved_2", 56, 4), ("source", 60, 4)]),
    instructions.TagWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 3),
        ("register", 23, 1), ("reserved_2", 24, 24), ("code", 48, 16)]),
    instructions.SynWord: (64, [("op", 0, 6), ("dwell", 6, 14), ("reserved", 20, 20),
        ("word", 40, 3), ("push", 43, 1), ("first", 44, 1), ("last", 45, 1), ("raw", 46, 1),
        ("erasures", 47, 1), ("rb", 48, 4), ("reserved_3", 52, 8), ("ra", 60, 4)]),
    sequencer.Wave: (64, [("step", 0, 30), ("base", 30, 10), ("length", 40, 24)]),
    sequencer.SequencerLoadAddress: (32, [("address", 0, 16), ("target", 16, 2),
        ("channel", 18, 3), ("reserved", 21, 10), ("slot", 31, 1)]),
    sequencer.SequencerStatus: (30, [("state", 0, 3), ("reserved", 3, 1), ("fault", 4, 4),
        ("pc", 8, 12), ("slot", 20, 1), ("trial", 21, 1), ("active", 22, 8)]),
    sequencer.SequencerAction: (7, [("start", 0, 1), ("timed", 1, 1), ("stop", 2, 1),
        ("reset", 3, 1), ("emergency", 4, 1), ("release", 5, 1), ("clear", 6, 1)]),
    sequencer.SlotStatus: (8, [("state", 0, 6), ("active", 6, 1), ("trial", 7, 1)]),
    sequencer.SlotCommand: (8, [("begin", 0, 1), ("commit", 1, 1), ("activate", 2, 1),
        ("trial", 3, 1), ("confirm", 4, 1), ("reserved", 5, 2), ("slot", 7, 1)]),
    sequencer.SequencerSizes: (32, [("channels", 0, 4), ("program_log2", 4, 4),
        ("waves_log2", 8, 4), ("envelope_log2", 12, 4), ("sample_bits", 16, 5), ("decoder", 21, 1),
        ("herald", 22, 1), ("reserved", 23, 9)]),
    sequencer.MarkRecord: (64, [("code", 0, 16), ("coarse", 16, 40), ("lost", 56, 4),
        ("kind", 60, 4)]),
    herald.HeraldAddress: (12, [("index", 0, 8), ("table", 8, 4)]),
    herald.PatternEntry: (18, [("enabled", 0, 1), ("early", 1, 1), ("windows", 2, 4), ("code",
        6, 4), ("pauli", 10, 8)]),
    herald.SiteEntry: (11, [("enabled", 0, 1), ("zero", 1, 5), ("one", 6, 5)]),
    herald.HeraldControl: (23, [("enable", 0, 1), ("by_reference", 1, 1), ("reference", 2, 4),
        ("role", 6, 2), ("trigger", 8, 1), ("trigger_line", 9, 3), ("record_success", 12, 1),
        ("record_failed", 13, 1), ("record_void", 14, 1), ("falling", 15, 8)]),
    herald.HeraldCodes: (25, [("limit", 0, 4), ("reinitialise", 4, 4), ("refused", 8, 4),
        ("void", 12, 4), ("failed", 16, 4), ("give_limit", 20, 1), ("give_reinitialise", 21, 1),
        ("give_refused", 22, 1), ("give_void", 23, 1), ("give_failed", 24, 1)]),
    herald.HeraldAction: (4, [("clear", 0, 1), ("run", 1, 1), ("abort", 2, 1), ("clear_frame",
        3, 1)]),
    herald.HeraldStatus: (15, [("busy", 0, 1), ("waits", 1, 1), ("off", 2, 1), ("settling", 3,
        1), ("saturated", 4, 1), ("limit", 5, 1), ("reinitialise", 6, 1), ("detectors", 7, 8)]),
    herald.AttemptRecord: (64, [("coarse", 0, 32), ("number", 32, 23), ("pause", 55, 1), ("lost",
        56, 4), ("kind", 60, 4)]),
    herald.HeraldRecord: (64, [("clicked", 0, 32), ("number", 32, 16), ("pattern", 48, 4),
        ("outcome", 52, 2), ("lost", 54, 4), ("reserved", 58, 2), ("kind", 60, 4)]),
    switches.MonitorRange: (32, [("low", 0, 16), ("high", 16, 16)]),
    switches.RouteEntry: (13, [("used", 0, 8), ("alternate", 8, 4), ("has_alternate", 12, 1)]),
    switches.RouteAddress: (9, [("word", 0, 5), ("route", 5, 4)]),
    switches.RouteLoad: (8, [("begin", 0, 1), ("commit", 1, 1), ("discard", 2, 1), ("reserved",
        3, 1), ("route", 4, 4)]),
    switches.RouteLoading: (23, [("words", 0, 18), ("route", 18, 4), ("active", 22, 1)]),
    switches.SwitchSizes: (18, [("switches", 0, 4), ("routes_log2", 4, 4), ("drive_bits", 8, 5),
        ("monitor_bits", 13, 5)]),
    switches.SwitchControl: (3, [("enable", 0, 1), ("failover", 1, 1), ("hold", 2, 1)]),
    switches.SwitchAction: (4, [("clear", 0, 1), ("park", 1, 1), ("disarm", 2, 1),
        ("clear_counts", 3, 1)]),
    switches.SwitchStatus: (32, [("state", 0, 3), ("settling", 3, 1), ("route", 4, 4), ("there",
        8, 1), ("failed_over", 9, 1), ("armed", 10, 1), ("reserved", 11, 5), ("requested", 16,
        8), ("out", 24, 8)]),
    switches.RefusedRequest: (11, [("route", 0, 8), ("reason", 8, 3)]),
    virtual.VirtualChannel: (19, [("enable", 0, 1), ("kind", 1, 1), ("record", 2, 1),
        ("detectors", 3, 8), ("watched", 11, 8)]),
    peer.PeerMessage: (48, [("kind", 0, 3), ("ready", 3, 1), ("ran", 4, 1), ("done", 5, 1),
        ("outcome", 6, 2), ("code", 8, 4), ("number", 12, 24), ("sender", 36, 6), ("receiver",
        42, 6)]),
    peer.PeerEcho: (48, [("kind", 0, 3), ("held", 3, 9), ("number", 12, 24), ("sender", 36, 6),
        ("receiver", 42, 6)]),
    peer.PeerControl: (2, [("enable", 0, 2)]),
    peer.PeerStatus: (16, [("up", 0, 1), ("quiet", 1, 1), ("ready", 2, 1), ("ran", 3, 1),
        ("own", 4, 6), ("other", 10, 6)]),
    peer.PeerSizes: (8, [("ports", 0, 4), ("lanes", 4, 4)]),
    peer.PeerAction: (2, [("clear", 0, 1), ("restart", 1, 1)]),
}

#: Enumeration: bits, values.
ENUMS = {
    tags.TagKind: (4, {"TAG": 0, "EPOCH": 1, "OVERFLOW_BEGIN": 2, "OVERFLOW_END": 3, "LOST": 4}),
    tags.LossCause: (6, {"BUFFER": 0, "BURST": 1, "VIRTUAL": 2}),
    frames.Channel: (8, {"REGISTER": 0, "TAGS": 1}),
    frames.Op: (7, {"SYNC": 1, "READ": 2, "READ_FIXED": 3, "WRITE": 4, "WRITE_FIXED": 5, "RMW": 6,
                    "WRITE_AT": 7, "CREDIT": 8, "PING": 9, "STREAM": 16}),
    frames.Status: (8, {"ACK": 0, "BAD_FRAME": 1, "BAD_VERSION": 2, "BAD_CHANNEL": 3, "BAD_OP": 4,
                        "BAD_LENGTH": 5, "UNMAPPED": 6, "READ_ONLY": 7, "WRITE_ONLY": 8,
                        "NO_SESSION": 9, "BUSY": 10, "OUT_OF_ORDER": 11, "LATE": 12,
                        "QUEUE_FULL": 13, "UNORDERED": 14, "OUT_OF_RANGE": 15}),
    timing.LoopState: (3, {"FREE": 0, "ACQUIRE": 1, "PULL_IN": 2, "LOCKED": 3, "HOLDOVER": 4}),
    timing.Reference: (1, {"PPS": 0, "CLOCK": 1}),
    tagger.Edges: (2, {"NONE": 0, "RISING": 1, "FALLING": 2, "BOTH": 3}),
    tagger.HistogramMode: (1, {"START_STOP": 0, "ALL_PAIRS": 1}),
    decoder.Table: (3, {"PAIR": 0, "HOP": 1, "BOUND": 2, "EDGE": 3, "SHORT": 4, "ERASE": 5}),
    decoder.Stage: (4, {"LOAD": 0, "FILL": 1, "ERASE": 2, "GROW": 3, "MATCH": 4, "EXCHANGE": 5,
                        "GROW_AGAIN": 6, "MATCH_AGAIN": 7, "COMMIT": 8}),
    decoder.PartnerKind: (2, {"SLOT": 0, "BOUNDARY": 1, "ESCAPED": 2}),
    decoder.DecoderRecordKind: (4, {"VERDICT": 8, "TIMING": 9, "MATCH": 10, "ESCAPE": 11}),
    instructions.Op: (6, {"NOP": 1, "SET": 2, "PULSE": 3, "FREQ": 4, "PHASE": 5, "OFFSET": 6,
        "SWITCH": 7, "DELAY": 8, "WAITUNTIL": 9, "WAITTRIG": 10, "BARRIER": 11, "LOOP": 16,
        "JMP": 17, "CALL": 18, "RET": 19, "BR": 20, "HALT": 21, "ARM": 24, "BRH": 25, "LDT": 26,
        "LI": 32, "ALU": 33, "GET": 34, "TAG": 40, "SYN": 41, "DEC": 42}),
    instructions.AluFunction: (4, {"ADD": 0, "SUB": 1, "AND": 2, "OR": 3, "XOR": 4, "SHL": 5,
        "SHR": 6, "SAR": 7, "MUL": 8}),
    instructions.Condition: (3, {"EQ": 0, "NE": 1, "LT": 2, "GE": 3, "LTU": 4, "GEU": 5}),
    instructions.TriggerMode: (2, {"RISE": 0, "FALL": 1, "HIGH": 2, "ALL": 3}),
    instructions.Source: (4, {"TICK_LOW": 0, "TICK_HIGH": 1, "WAITED": 2, "INPUTS": 3,
        "VERDICT": 4, "FRAME": 5, "CLICKED": 6, "SITES": 7, "HERALD_FRAME": 8, "ATTEMPT": 9}),
    instructions.Fault: (4, {"NONE": 0, "ILLEGAL": 1, "CALL_OVERFLOW": 2, "CALL_UNDERFLOW": 3,
        "LOOP_OVERFLOW": 4, "LOOP_EMPTY": 5, "LOOP_UNDERFLOW": 6, "LATE": 7}),
    sequencer.LoadTarget: (2, {"PROGRAM": 0, "WAVES": 1, "ENVELOPE": 2}),
    sequencer.SequencerState: (3, {"IDLE": 0, "ARMED": 1, "RUNNING": 2, "HALTED": 3, "FAULT": 4,
        "EMERGENCY": 5}),
    sequencer.SlotState: (3, {"EMPTY": 0, "WRITING": 1, "VALID": 2, "REFUSED": 3, "REJECTED": 4}),
    sequencer.SequencerRecordKind: (4, {"MARK": 5}),
    herald.HeraldTable: (4, {"OPEN": 0, "CLOSE": 1, "ACCEPT": 2, "CONTRIBUTION": 3, "COUNT": 4,
        "PATTERN": 5, "DECIDE": 6, "SITE": 7}),
    herald.Role: (2, {"SOLO": 0, "STATION": 1, "FOLLOWER": 2}),
    herald.Outcome: (2, {"SUCCESS": 0, "FAILED": 1, "VOID": 2}),
    herald.HeraldRecordKind: (4, {"ATTEMPT": 6, "HERALD": 7}),
    switches.RouteWord: (5, {"DRIVE": 0, "RANGE": 8, "SETTLE": 16, "ENTRY": 17}),
    switches.RouteState: (3, {"OFF": 0, "IDLE": 1, "SETTLING": 2, "HOLDING": 3, "FAILING": 4,
        "FAULT": 5, "EMERGENCY": 6}),
    switches.Refusal: (3, {"NONE": 0, "UNKNOWN": 1, "FAULT": 2, "EMERGENCY": 3, "OFF": 4,
        "LATE": 5}),
    herald.HeraldCount: (7, {"CELL": 0, "PATTERN": 32, "STRAY": 48, "DEAD": 56, "CLICK": 64}),
    virtual.VirtualKind: (1, {"COINCIDENCE": 0, "COMBINATION": 1}),
    peer.PeerKind: (3, {"TRIGGER": 1, "VERDICT": 2, "REPORT": 3, "PING": 4, "ECHO": 5}),
}


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_fields_of_struct(struct):
    bits, fields = STRUCTS[struct]
    assert Shape.cast(struct).width == bits
    assert [(name, f.offset, Shape.cast(f.shape).width)
            for name, f in struct.as_shape()] == fields


@pytest.mark.parametrize("enumeration", ENUMS, ids=lambda enumeration: enumeration.__name__)
def test_values_of_enumeration(enumeration):
    bits, values = ENUMS[enumeration]
    assert Shape.cast(enumeration).width == bits
    assert {member.name: member.value for member in enumeration} == values


@pytest.mark.parametrize("module", [tags, frames, identity, decoder, decoder_registers,
                                    instructions, sequencer, herald, switches,
                                    virtual, peer])
def test_every_public_word_is_pinned(module):
    for name in module.__all__:
        value = getattr(module, name)
        # Flags have a test of their own, below.
        has_own = name.endswith("Flags") and value is not decoder.WindowFlags
        if isinstance(value, type) and issubclass(value, data.Struct | enum.Enum) and not has_own:
            assert value in STRUCTS or value in ENUMS, f"{name} has no row in this table"


@pytest.mark.parametrize("flags", [LinkFlags, timing.TimingFlags, tagger.TaggerFlags,
                                   tagger.HistogramFlags, decoder_registers.DecoderFlags,
                                   sequencer.SequencerFlags, herald.HeraldFlags,
                                   switches.SwitchFlags, virtual.VirtualFlags,
                                   peer.PeerFlags],
                         ids=lambda flags: flags.__name__)
def test_flags_are_single_bits_without_gaps(flags):
    assert [(f.offset, Shape.cast(f.shape).width) for _name, f in flags.as_shape()] == [
        (i, 1) for i in range(Shape.cast(flags).width)]


def test_constants():
    assert (tags.FINE_BITS, tags.FINE_PER_TICK, tags.COARSE_BITS, tags.EPOCH_BITS) == (
        13, 8192, 40, 24)
    assert (tags.MAX_CHANNELS, tags.SAMPLES_PER_CLOCK) == (8, (1, 2, 4, 8))
    assert (frames.LINK_VERSION, frames.WINDOW, frames.MAX_PAYLOAD_WORDS) == (1, 4, 60)
    assert (frames.HEADER_BYTES, frames.CRC_BYTES, frames.MAX_FRAME_BYTES) == (10, 4, 254)
    assert frames.STREAM_RECORDS == 29
    assert identity.MAGIC.to_bytes(4, "big") == b"QCOR"


def test_header_is_as_long_as_it_says():
    assert Shape.cast(frames.FrameHeader).width == 8 * frames.HEADER_BYTES


def test_frame_fits_one_cobs_block():
    assert frames.MAX_FRAME_BYTES <= 254


@pytest.mark.parametrize("samples, fine, expected", [
    (1, True, {"level": (0, 1), "fine": (1, 13)}),
    (2, True, {"level": (0, 2), "fine": (2, 24)}),
    (4, True, {"level": (0, 4), "fine": (4, 44)}),
    (8, True, {"level": (0, 8), "fine": (8, 80)}),
    (4, False, {"level": (0, 4)}),
])
def test_sample_word(samples, fine, expected):
    word = tags.sample_word(samples, fine=fine)
    assert {name: (f.offset, Shape.cast(f.shape).width) for name, f in word} == expected


def test_sample_word_refuses_other_widths():
    with pytest.raises(ValueError, match=r"^Samples per clock must be one of \(1, 2, 4, 8\), "
                                         r"not 3$"):
        tags.sample_word(3)


def test_picoseconds_survive_fine_units():
    for ps in range(8000):
        fine = round(ps * tags.FINE_PER_TICK / 8000)
        assert round(fine * 8000 / tags.FINE_PER_TICK) == ps


def test_kinds_of_records_differ():
    kinds = [kind.value for kinds in (tags.TagKind, decoder.DecoderRecordKind,
                                      sequencer.SequencerRecordKind,
                                      herald.HeraldRecordKind) for kind in kinds]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("shape", [
    decoder.DecoderShape(space_bits=1),
    decoder.DecoderShape(space_bits=8, delta_bits=5, observables=8, edge_bits=13, shortcut_bits=14,
                         event_bits=12, sites=256)])
def test_every_decoder_fits_the_registers_and_the_round(shape):
    sizes = decoder_registers.DecoderSizes.const(decoder_registers.sizes_of(shape))
    assert {name: getattr(sizes, name) for name, _ in decoder_registers.DecoderSizes.as_shape()
            } == decoder_registers.sizes_of(shape)
    assert max(shape.table_depth(t) for t in decoder.Table) <= 1 << (
        decoder_registers.LOAD_ADDRESS_BITS)
    assert all(decoder_registers.load_words(shape, table) <= 2 for table in decoder.Table)
    # A whole round goes into one request of the link.
    assert 1 + 2 * decoder_registers.round_words(shape) + decoder_registers.erasure_words(
        shape) <= frames.MAX_PAYLOAD_WORDS
