"""The sequencer's instructions: every word of a program, and what it costs in ticks.

A program is 64-bit words. The sequencer issues one instruction, waits for its *dwell*, and issues
the next: an instruction issued in tick T with dwell d is followed by one in tick T + d, for ever
and whatever happens elsewhere. Only the waits (``WAITUNTIL``, ``WAITTRIG``, ``BARRIER``, ``BRH``,
``DEC``) take as long as the world does, and all but the first have a timeout. An instruction whose
dwell is below :func:`least_dwell` is refused when it is met, so that nothing can be late.

Fields that several formats share stand at the same bits: the operation in bits 0 to 5, the dwell
in 6 to 19, the channel in 20 to 22, the registers ``ra``, ``rd`` and ``rb`` in 60 to 63, 52 to 55
and 48 to 51. The bits of ``ra`` and ``rb`` are looked up for every word, whatever it is, and go out
with it on the command bus. ``docs/sequencer.md`` has the meaning of every instruction, with worked
examples.
"""

import functools
import json
import zlib

from amaranth.hdl import Shape, signed
from amaranth.lib import data, enum

__all__ = [
    "PROGRAM_DEPTH", "REGISTERS", "LOOP_LEVELS", "CALL_LEVELS", "SHORT_LOOP", "BRH_ENTRIES",
    "COMMAND_LATENCY", "BRANCH_TICKS", "DATA_TICKS", "MUL_TICKS", "LDT_TICKS", "DELAY_TICKS",
    "UNTIL_TICKS", "FREQ_TICKS", "TRIGGER_TICKS", "TIMEOUT_TICKS", "VERDICT_TICKS",
    "Op", "AluFunction", "Condition", "TriggerMode", "Source", "Fault",
    "AnyInstruction", "NopWord", "SetWord", "PulseWord", "FreqWord", "PhaseWord", "OffsetWord",
    "SwitchWord", "DelayWord", "UntilWord", "WaitWord", "LoopWord", "JumpWord", "BranchWord",
    "HaltWord", "ArmWord", "LdtWord", "LiWord", "AluWord", "GetWord", "TagWord", "SynWord",
    "FORMATS", "least_dwell", "isa_crc",
]

#: Words of a program, and of the memory behind it, at most.
PROGRAM_DEPTH = 4096
#: Data registers of 32 bits.
REGISTERS = 16
#: Loops inside each other.
LOOP_LEVELS = 4
#: Calls inside each other.
CALL_LEVELS = 8
#: A loop whose body has fewer words is a short one: its ``LOOP`` takes as long as a branch.
SHORT_LOOP = 7
#: Entries of a ``BRH`` table: one for each pattern, and one for the timeout.
BRH_ENTRIES = 17

#: From an instruction's tick to the tick in which it is on the command bus.
COMMAND_LATENCY = 1
#: Least dwell of ``JMP``, ``CALL``, ``RET``, ``BR`` and of the ``LOOP`` of a short body, taken or
#: not.
BRANCH_TICKS = 7
#: Least dwell of ``LI``, ``ALU`` and ``GET``: the next instruction sees the result.
DATA_TICKS = 4
#: The same of a multiplication.
MUL_TICKS = 8
#: The same of ``LDT``.
LDT_TICKS = 7
#: Least dwell of ``DELAY``.
DELAY_TICKS = 7
#: ``WAITUNTIL`` must be issued at least so many ticks before its time.
UNTIL_TICKS = 7
#: ``FREQ`` acts so many ticks after it was issued, and has that least dwell.
FREQ_TICKS = 1
#: From the tick that ends a ``WAITTRIG``, ``BARRIER`` or ``DEC`` to the next instruction; so from
#: the last tick of a ``BRH`` that goes on with the next word.
TRIGGER_TICKS = 2
#: From the last tick in which a wait could have ended to the instruction at its ``target``.
TIMEOUT_TICKS = 5
#: From a verdict to the instruction that ``BRH`` goes to.
VERDICT_TICKS = 6


class Op(enum.Enum, shape=6):
    """What an instruction does. 0 is none: memory that was never loaded is refused."""

    #: Nothing, for up to 2**46 ticks.
    NOP = 1
    #: Set TTL lines.
    SET = 2
    #: Start a pulse of a wave on a channel.
    PULSE = 3
    #: Set a channel's frequency.
    FREQ = 4
    #: Set, or add to, a channel's phase.
    PHASE = 5
    #: Set a channel's direct offset.
    OFFSET = 6
    #: Set the photonic route.
    SWITCH = 7
    #: Wait for a number of ticks that a register holds, on top of the dwell.
    DELAY = 8
    #: Wait until a tick: counted from the start, or absolute in a register pair.
    WAITUNTIL = 9
    #: Wait for trigger inputs.
    WAITTRIG = 10
    #: Wait until all peers have come to their barrier.
    BARRIER = 11
    #: Repeat the words that follow.
    LOOP = 16
    JMP = 17
    CALL = 18
    RET = 19
    #: Jump if a comparison holds.
    BR = 20
    #: Stop.
    HALT = 21
    #: Open a set of herald windows, and forget the verdict that was.
    ARM = 24
    #: Wait for a verdict and jump into a table by its pattern.
    BRH = 25
    #: Difference of two photons' times into a register.
    LDT = 26
    #: A constant into a register.
    LI = 32
    #: Arithmetic and logic.
    ALU = 33
    #: Something the sequencer knows into a register.
    GET = 34
    #: Put a mark into the record stream.
    TAG = 40
    #: Hand syndrome bits to the decoder.
    SYN = 41
    #: Wait for the decoder's frame.
    DEC = 42


class AluFunction(enum.Enum, shape=4):
    """``rd = ra function operand``, 32 bits, wrapping around."""

    ADD = 0
    SUB = 1
    AND = 2
    OR = 3
    XOR = 4
    #: Shifts go by the operand's lowest five bits.
    SHL = 5
    SHR = 6
    #: Arithmetic shift to the right.
    SAR = 7
    #: The signed 64-bit product, shifted to the right by ``shift``; its lowest 32 bits.
    MUL = 8


class Condition(enum.Enum, shape=3):
    """When ``BR`` jumps: ``ra`` against the operand."""

    EQ = 0
    NE = 1
    #: Signed.
    LT = 2
    GE = 3
    #: Unsigned.
    LTU = 4
    GEU = 5


class TriggerMode(enum.Enum, shape=2):
    """What ends ``WAITTRIG``, of the inputs in its mask."""

    #: Any input is high and was low a tick before.
    RISE = 0
    #: Any input is low and was high a tick before.
    FALL = 1
    #: Any input is high.
    HIGH = 2
    #: All inputs are high.
    ALL = 3


class Source(enum.Enum, shape=4):
    """What ``GET`` reads."""

    #: Low half of the tick in which this ``GET`` was issued; keeps the high half for TICK_HIGH.
    TICK_LOW = 0
    #: High half of the tick of the last ``GET`` of TICK_LOW.
    TICK_HIGH = 1
    #: Ticks that the last wait took: from its issue to the tick that ended it.
    WAITED = 2
    #: Trigger inputs, in the tick of issue.
    INPUTS = 3
    #: Pattern of the last verdict; bit 4 is set if there was one since the last ``ARM``.
    VERDICT = 4
    #: Pauli frame of basis 0 in bits 0 to 7, of basis 1 in bits 8 to 15.
    FRAME = 5
    #: Clicked cells of the herald's last attempt that was decided, a bit each.
    CLICKED = 6
    #: The herald's photonic qubits: values in bits 0 to 7, erasures in bits 8 to 15.
    SITES = 7
    #: The herald's Pauli frame: XOR over all verdicts.
    HERALD_FRAME = 8
    #: Number of the herald's last attempt.
    ATTEMPT = 9


class Fault(enum.Enum, shape=4):
    """Why the sequencer stopped by itself."""

    NONE = 0
    #: No such operation, or a dwell below the least one.
    ILLEGAL = 1
    #: ``CALL`` with the call stack full.
    CALL_OVERFLOW = 2
    #: ``RET`` without a call.
    CALL_UNDERFLOW = 3
    #: ``LOOP`` with all levels in use.
    LOOP_OVERFLOW = 4
    #: ``LOOP`` with a count of 0, or without a body.
    LOOP_EMPTY = 5
    #: ``BR``, ``JMP`` or ``BRH`` out of more loops than there are.
    LOOP_UNDERFLOW = 6
    #: ``WAITUNTIL`` a time that is past, too near, or more than 2**48 ticks ahead.
    LATE = 7


class AnyInstruction(data.Struct):
    """The fields that stand at the same bits in every format that has them."""

    op: Op
    dwell: 14
    channel: 3
    low: 25
    rb: 4
    rd: 4
    middle: 4
    ra: 4


class NopWord(data.Struct):
    """``NOP``: dwell is ``dwell + (more << 14)``."""

    op: Op
    dwell: 14
    more: 32
    reserved: 12


class SetWord(data.Struct):
    """``SET``: lines in ``mask`` take their bit of ``value``."""

    op: Op
    dwell: 14
    reserved: 12
    value: 16
    mask: 16


class PulseWord(data.Struct):
    """``PULSE``: ``wave`` on ``channel``, ``defer`` ticks after issue, times ``amplitude / 2**15``.

    With ``wave_register`` the wave's number is in ``ra`` (the top bits of ``wave``), with
    ``amplitude_register`` the amplitude is in the lowest 16 bits of ``rb`` (the top bits of
    ``amplitude``).
    """

    op: Op
    dwell: 14
    channel: 3
    amplitude_register: 1
    wave_register: 1
    reserved: 3
    defer: 8
    amplitude: signed(16)
    reserved_2: 3
    wave: 9


class FreqWord(data.Struct):
    """``FREQ``: the upper 36 bits of the frequency word, in turns per tick.

    With ``registers`` the 48 bits are ``ra`` and the upper half of ``rb``. Not ``continuous``: the
    phase is what it were had the channel always run at this frequency since tick 0 (coherent).
    ``continuous``: the phase goes on from where it is.
    """

    op: Op
    dwell: 14
    channel: 3
    registers: 1
    continuous: 1
    reserved: 3
    word: 36


class PhaseWord(data.Struct):
    """``PHASE``: the channel's phase offset in 2**-32 turns; ``ra`` with ``register``."""

    op: Op
    dwell: 14
    channel: 3
    register: 1
    #: Add to the offset there is.
    add: 1
    reserved: 7
    value: 32


class OffsetWord(data.Struct):
    """``OFFSET``: a constant on a channel's output; the lowest 16 bits of ``ra`` with ``register``.
    """

    op: Op
    dwell: 14
    channel: 3
    register: 1
    reserved: 24
    value: signed(16)


class SwitchWord(data.Struct):
    """``SWITCH``: number of a route; the lowest 8 bits of ``ra`` with ``register``."""

    op: Op
    dwell: 14
    reserved: 3
    register: 1
    reserved_2: 32
    route: 8


class DelayWord(data.Struct):
    """``DELAY``: the next instruction comes ``dwell + ra`` ticks after this one."""

    op: Op
    dwell: 14
    reserved: 40
    ra: 4


class UntilWord(data.Struct):
    """``WAITUNTIL``: the next instruction comes in tick ``start + time``.

    With ``registers`` in the tick whose halves are in ``ra`` (high) and ``rb`` (low). No dwell.
    """

    op: Op
    registers: 1
    reserved: 9
    time: 48


class WaitWord(data.Struct):
    """``WAITTRIG``, ``BARRIER``, ``BRH``, ``DEC``: wait, at most ``timeout`` ticks (0: for ever).

    An instruction issued in tick T looks at the world from T + 1 to T + ``timeout``. If that ends
    without what it waits for, the program goes on at ``target`` (``BRH``: at the table's entry 16).
    ``mask``: the inputs (``WAITTRIG``) or peers (``BARRIER``) that count; ``DEC``: bit 0 is the
    basis, bit 1 asks for the frame after the last window of a shot; the ``BRH`` table has entries
    of ``2**(mask & 7)`` words, and ``BRH`` leaves ``mask >> 3 & 7`` loops when it goes there.
    ``mode`` bit 0 of ``BRH``: after a timeout the program goes on with the next word instead, in
    tick T + ``timeout`` + :data:`TRIGGER_TICKS`, in its loops: a ``BRH`` may be the last word of a
    loop of attempts. ``rd`` gets the ticks waited (``WAITTRIG``, ``BARRIER``), the pattern or 16
    (``BRH``), the frame or 0 (``DEC``). No dwell.
    """

    op: Op
    mode: TriggerMode
    target: 12
    timeout: 32
    rd: 4
    mask: 8


class LoopWord(data.Struct):
    """``LOOP``: the ``span`` words that follow, ``count`` times; ``ra`` times with ``register``."""

    op: Op
    dwell: 14
    reserved: 3
    register: 1
    span: 12
    count: 28


class JumpWord(data.Struct):
    """``JMP``, ``CALL``, ``RET``; ``JMP`` leaves ``pop`` loops."""

    op: Op
    dwell: 14
    target: 12
    reserved: 20
    pop: 3
    reserved_2: 9


class BranchWord(data.Struct):
    """``BR``: if ``ra`` and the operand compare so, leave ``pop`` loops and go to ``target``.

    The operand is ``value`` with ``immediate``, else ``rb``.
    """

    op: Op
    dwell: 14
    target: 12
    value: signed(16)
    rb: 4
    pop: 3
    reserved: 1
    condition: Condition
    immediate: 1
    ra: 4


class HaltWord(data.Struct):
    """``HALT``: stop and show ``code``."""

    op: Op
    reserved: 42
    code: 16


class ArmWord(data.Struct):
    """``ARM``: a set of herald windows."""

    op: Op
    dwell: 14
    reserved: 40
    windows: 4


class LdtWord(data.Struct):
    """``LDT``: time of ``first`` minus time of ``second`` into ``rd``, in fine units."""

    op: Op
    dwell: 14
    reserved: 22
    second: 5
    reserved_2: 5
    rd: 4
    reserved_3: 3
    first: 5


class LiWord(data.Struct):
    """``LI``: ``value`` into ``rd``."""

    op: Op
    dwell: 14
    value: 32
    rd: 4
    reserved: 8


class AluWord(data.Struct):
    """``ALU``: the operand is ``value`` with ``immediate``, else ``rb``."""

    op: Op
    dwell: 14
    value: signed(20)
    immediate: 1
    shift: 5
    reserved: 2
    rb: 4
    rd: 4
    function: AluFunction
    ra: 4


class GetWord(data.Struct):
    """``GET``: ``source`` into ``rd``."""

    op: Op
    dwell: 14
    reserved: 32
    rd: 4
    reserved_2: 4
    source: Source


class TagWord(data.Struct):
    """``TAG``: a mark with ``code``; the lowest 16 bits of ``ra`` with ``register``."""

    op: Op
    dwell: 14
    reserved: 3
    register: 1
    reserved_2: 24
    code: 16


class SynWord(data.Struct):
    """``SYN``: word ``word`` of a round's bits, basis 0 from ``ra``, basis 1 from ``rb``.

    With ``push`` the round is complete and goes to the decoder. Its number is that of the round
    pushed before plus one, or 0 with ``first``. ``erasures``: sites that the herald says are erased
    (``COMMAND_LATENCY`` ticks after the issue) are erased in this round, site by site.
    """

    op: Op
    dwell: 14
    reserved: 20
    word: 3
    push: 1
    first: 1
    last: 1
    raw: 1
    erasures: 1
    rb: 4
    reserved_3: 8
    ra: 4


#: The format of each operation.
FORMATS = {
    Op.NOP: NopWord, Op.SET: SetWord, Op.PULSE: PulseWord, Op.FREQ: FreqWord, Op.PHASE: PhaseWord,
    Op.OFFSET: OffsetWord, Op.SWITCH: SwitchWord, Op.DELAY: DelayWord, Op.WAITUNTIL: UntilWord,
    Op.WAITTRIG: WaitWord, Op.BARRIER: WaitWord, Op.LOOP: LoopWord, Op.JMP: JumpWord,
    Op.CALL: JumpWord, Op.RET: JumpWord, Op.BR: BranchWord, Op.HALT: HaltWord, Op.ARM: ArmWord,
    Op.BRH: WaitWord, Op.LDT: LdtWord, Op.LI: LiWord, Op.ALU: AluWord, Op.GET: GetWord,
    Op.TAG: TagWord, Op.SYN: SynWord, Op.DEC: WaitWord,
}


def least_dwell(op, *, multiply=False, short=False, register=False):
    """Ticks that an instruction must last at least.

    Parameters
    ----------
    op : Op
    multiply : bool
        ``ALU`` with the function MUL.
    short : bool
        ``LOOP`` of fewer than :data:`SHORT_LOOP` words.
    register : bool
        ``LOOP`` with its count in a register.

    Returns
    -------
    int
        0 where the format has no dwell.
    """
    if op in (Op.WAITUNTIL, Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC, Op.HALT):
        return 0
    if op in (Op.JMP, Op.CALL, Op.RET, Op.BR) or op is Op.LOOP and short:
        return BRANCH_TICKS
    if op in (Op.LI, Op.GET, Op.ALU) or op is Op.LOOP and register:
        return MUL_TICKS if multiply else DATA_TICKS
    return {Op.LDT: LDT_TICKS, Op.DELAY: DELAY_TICKS, Op.FREQ: FREQ_TICKS}.get(op, 1)


@functools.cache
def isa_crc():
    """CRC-32 of the instruction set: formats, codes and costs, without prose.

    An image carries it, and a sequencer made from another instruction set refuses the image.
    """
    enumerations = (Op, AluFunction, Condition, TriggerMode, Source, Fault)
    text = json.dumps({
        "formats": {op.name: [(name, f.offset, Shape.cast(f.shape).width)
                              for name, f in word.as_shape()] for op, word in FORMATS.items()},
        "codes": {e.__name__: {member.name: member.value for member in e} for e in enumerations},
        "costs": {name: value for name, value in sorted(globals().items())
                  if name in __all__ and isinstance(value, int)},
    }, sort_keys=True, separators=(",", ":"))
    return zlib.crc32(text.encode())
