"""The sequencer's engine: issues instructions at the ticks that their dwells say."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.instructions import (
    CALL_LEVELS,
    LOOP_LEVELS,
    MUL_TICKS,
    PROGRAM_DEPTH,
    REGISTERS,
    SHORT_LOOP,
    UNTIL_TICKS,
    AluFunction,
    AluWord,
    AnyInstruction,
    BranchWord,
    Condition,
    Fault,
    GetWord,
    JumpWord,
    LiWord,
    LoopWord,
    NopWord,
    Op,
    Source,
    SynWord,
    TriggerMode,
    UntilWord,
    WaitWord,
    least_dwell,
)
from quantacore.gateware.sequencer.alu import Alu, Comparator
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.sequencer.fetch import Fetcher

__all__ = ["Engine"]

#: Operations that the engine tells apart; it passes all others on.
_KNOWN = (Op.LOOP, Op.JMP, Op.CALL, Op.RET, Op.BR, Op.HALT, Op.DELAY, Op.WAITUNTIL, Op.WAITTRIG,
          Op.BARRIER, Op.BRH, Op.DEC, Op.ARM, Op.LDT, Op.LI, Op.ALU, Op.GET, Op.SYN)
_WAITS = (Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC)
_BASES = 2


class _Decoder(wiring.Component):
    """What a word asks for, before it is issued; combinational.

    ``known[i]`` is set for operation ``_KNOWN[i]``. ``illegal``: no such word, or too short.
    ``ticks`` is the dwell, or for a wait one more than its timeout; ``one`` says that it is 1.
    """

    word: In(64)
    known: Out(len(_KNOWN))
    waits: Out(1)
    illegal: Out(1)
    multiply: Out(1)
    short: Out(1)
    empty: Out(1)
    ticks: Out(48)
    one: Out(1)

    def elaborate(self, platform):
        m = Module()
        word = AnyInstruction(self.word)
        loop, alu = LoopWord(self.word), AluWord(self.word)
        branch, get = BranchWord(self.word), GetWord(self.word)
        nop, wait = NopWord(self.word), WaitWord(self.word)

        exists, least = Signal(), Signal(range(16))
        with m.Switch(word.op):
            for op in Op:
                with m.Case(op):
                    m.d.comb += [exists.eq(1), least.eq(least_dwell(op)),
                                 self.waits.eq(op in _WAITS)]
                    if op in _KNOWN:
                        m.d.comb += self.known[_KNOWN.index(op)].eq(1)
                    if op is Op.LOOP:
                        with m.If(self.short):
                            m.d.comb += least.eq(least_dwell(op, short=True))
                        with m.Elif(loop.register):
                            m.d.comb += least.eq(least_dwell(op, register=True))
                    elif op is Op.ALU:
                        with m.If(self.multiply):
                            m.d.comb += least.eq(MUL_TICKS)
                        m.d.comb += exists.eq(alu.as_value()[56:60] <= max(
                            function.value for function in AluFunction))
                    elif op is Op.BR:
                        m.d.comb += exists.eq(branch.as_value()[56:59] <= max(
                            condition.value for condition in Condition))
                    elif op is Op.GET:
                        m.d.comb += exists.eq(get.as_value()[60:64] <= max(
                            source.value for source in Source))
                    elif op is Op.NOP:
                        # Long ones have 0 in the lower part as well.
                        m.d.comb += least.eq(~nop.more.any())
        m.d.comb += [
            self.short.eq(loop.span < SHORT_LOOP),
            self.empty.eq((loop.span == 0) | ~loop.register & (loop.count == 0)),
            self.multiply.eq(alu.as_value()[56:60] == AluFunction.MUL.value),
            self.illegal.eq(~exists | (word.dwell < least)),
            self.ticks.eq(Mux(self.waits, wait.timeout + 1,
                              Cat(word.dwell, Mux(word.op == Op.NOP, nop.more, 0)))),
            self.one.eq(~self.waits & (word.dwell == 1) & ~((word.op == Op.NOP) & nop.more.any())),
        ]
        return m


class Engine(wiring.Component):
    """Runs a program: one instruction per tick, and never a late one.

    Instructions are ready before they are due: a word every clock along a straight line and around
    loops, and after a jump within the least dwell of all that jump. So the tick in which an
    instruction is issued follows from the program alone, but for the waits.

    Members
    -------
    tick : In(64)
        The node's tick counter.
    address, read, data
        The program's memory, as of :class:`~quantacore.gateware.sequencer.fetch.Fetcher`.
    start : In(1), start_pc : In(12)
        Begin. Only when not ``running``.
    timed : In(1), release : In(1)
        With ``timed`` in the clock of ``start``, the first instruction is issued two ticks after
        the one in which ``release`` is high; without, as soon as it is there.
    armed : Out(1)
        Started with ``timed``, fetched, and waiting for ``release``.
    stop : In(1)
        End the program, without a fault.
    clear : In(1)
        With ``stop``: data registers become 0, one in each clock. So they do after a reset.
    clearing : Out(1)
        They are about to; a program that is started waits for them.
    running : Out(1)
        From ``start`` until the program ends.
    halted : Out(1), fault : Out(Fault)
        How the last program ended: neither if it was stopped.
    pc, stopped, halt_code, started, waited
        See the registers of the block
        :data:`~quantacore.gateware.layouts.sequencer.SEQUENCER`.
    triggers, peers : In(8)
        An input counts in the tick in which it is here.
    barrier : Out(1)
        Changes with each ``BARRIER``.
    verdict_valid : In(1), verdict : In(4)
        Pattern of a herald.
    frame_valid : In(2), frame : In(8).array(2), frame_last : In(2)
        Pauli frame of each basis after a window; whether that was a shot's last.
    delta : In(signed(32))
        Answer to ``LDT``, three ticks after it was issued.
    command : Out(stream of Command)
        Every instruction, ``COMMAND_LATENCY`` ticks after it is issued.
    preset : In(1), preset_index : In(4), preset_value : In(32)
        Write a data register. Takes place when no instruction writes one; at most one in two
        clocks.
    data_index : In(4), data_value : Out(32)
        Look at a data register.
    """

    tick: In(64)
    address: Out(range(PROGRAM_DEPTH))
    read: Out(1)
    data: In(64)
    start: In(1)
    start_pc: In(range(PROGRAM_DEPTH))
    timed: In(1)
    release: In(1)
    armed: Out(1)
    stop: In(1)
    clear: In(1)
    clearing: Out(1, init=1)
    running: Out(1)
    halted: Out(1)
    fault: Out(Fault)
    pc: Out(range(PROGRAM_DEPTH))
    stopped: Out(64)
    started: Out(64)
    halt_code: Out(16)
    waited: Out(32)
    triggers: In(8)
    peers: In(8)
    barrier: Out(1)
    verdict_valid: In(1)
    verdict: In(4)
    frame_valid: In(_BASES)
    frame: In(8).array(_BASES)
    frame_last: In(_BASES)
    delta: In(signed(32))
    command: Out(stream.Signature(Command, always_ready=True))
    preset: In(1)
    preset_index: In(range(REGISTERS))
    preset_value: In(32)
    data_index: In(range(REGISTERS))
    data_value: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = Fetcher()
        m.submodules.decode = decode = _Decoder()
        m.submodules.alu = alu = Alu()
        m.submodules.compare = compare = Comparator()
        m.d.comb += [
            self.address.eq(fetch.address), self.read.eq(fetch.read), fetch.data.eq(self.data),
            decode.word.eq(fetch.word),
        ]

        # ------------------------------------------------ the instruction that is under way
        # `issue` is high in its first tick. `open` is high in its last, or later if the next one
        # is not there, which happens only after a start, a timeout and a verdict.
        word, place = Signal(64), Signal(range(PROGRAM_DEPTH))
        issue, illegal = Signal(), Signal()
        known = {op: Signal(name=f"is_{op.name.lower()}") for op in _KNOWN}
        multiply, short, empty = Signal(), Signal(), Signal()
        open_, first = Signal(), Signal()
        remaining = Signal(64)
        take = Signal()
        go, end = Signal(), Signal()
        m.d.comb += [take.eq(open_ & fetch.valid), fetch.take.eq(take), go.eq(issue & ~illegal)]
        m.d.sync += [issue.eq(take), remaining.eq(remaining - 1)]
        due = Signal()
        m.d.comb += due.eq(remaining == 2)
        waiting, until = Signal(), Signal()
        with m.If(take):
            m.d.sync += [
                word.eq(fetch.word), place.eq(fetch.pc), illegal.eq(decode.illegal),
                multiply.eq(decode.multiply), short.eq(decode.short), empty.eq(decode.empty),
                remaining.eq(decode.ticks), open_.eq(decode.one),
                waiting.eq(decode.waits), until.eq(decode.known[_KNOWN.index(Op.WAITUNTIL)]),
                first.eq(0),
            ]
            m.d.sync += [flag.eq(decode.known[i]) for i, flag in enumerate(known.values())]
        with m.Elif(due & ~waiting & ~until & self.running & ~first):
            m.d.sync += open_.eq(1)

        # ------------------------------------------------ data registers
        registers = memory.Memory(shape=32, depth=REGISTERS, init=[],
                                  attrs={"ram_style": "distributed"})
        m.submodules.registers = registers
        look_a, look_b, look = (registers.read_port(domain="comb") for _ in range(3))
        write = registers.write_port()
        fields = AnyInstruction(word)
        m.d.comb += [look_a.addr.eq(fields.ra), look_b.addr.eq(fields.rb),
                     look.addr.eq(self.data_index), self.data_value.eq(look.data)]
        alu_word, branch_word = AluWord(word), BranchWord(word)
        # Second tick: what the registers held, and the operand.
        a, b, operand = Signal(32), Signal(32), Signal(32)
        second, second_word = Signal(), Signal(64)
        m.d.sync += second.eq(go)
        with m.If(go):
            m.d.sync += [a.eq(look_a.data), b.eq(look_b.data), second_word.eq(word),
                         operand.eq(look_b.data)]
            with m.If(known[Op.ALU] & alu_word.immediate):
                m.d.sync += operand.eq(alu_word.value)
            with m.Elif(known[Op.BR] & branch_word.immediate):
                m.d.sync += operand.eq(branch_word.value)
        m.d.comb += [
            self.command.valid.eq(second), self.command.payload.word.eq(second_word),
            self.command.payload.a.eq(a), self.command.payload.b.eq(b),
        ]
        now, past_tick = Signal(64), Signal(32)
        with m.If(issue):
            m.d.sync += now.eq(self.tick)
        # What GET finds are inputs of the tick of issue.
        inputs_before = Signal(8)
        m.d.sync += inputs_before.eq(self.triggers)

        # Results, none in the same clock as another: every instruction that has one lasts until
        # it is written.
        other, other_valid = Signal(32), Signal()
        result_of_wait = Signal(32)
        wait_over = Signal()
        m.d.comb += [
            alu.start.eq(second & known[Op.ALU]), alu.function.eq(alu_word.function),
            alu.shift.eq(alu_word.shift), alu.x.eq(a), alu.y.eq(operand),
        ]
        verdict_seen, last_verdict = Signal(), Signal(4)
        frames = [Signal(8, name=f"frame_{basis}") for basis in range(_BASES)]
        found = Signal(32)
        with m.Switch(GetWord(word).source):
            with m.Case(Source.TICK_LOW):
                m.d.comb += found.eq(now[:32])
            with m.Case(Source.TICK_HIGH):
                m.d.comb += found.eq(past_tick)
            with m.Case(Source.WAITED):
                m.d.comb += found.eq(self.waited)
            with m.Case(Source.INPUTS):
                m.d.comb += found.eq(inputs_before)
            with m.Case(Source.VERDICT):
                m.d.comb += found.eq(Cat(last_verdict, verdict_seen))
            with m.Case(Source.FRAME):
                m.d.comb += found.eq(Cat(frames))
        with m.If(second & known[Op.GET] & (GetWord(word).source == Source.TICK_LOW)):
            m.d.sync += past_tick.eq(now[32:])
        answer = Signal(2)
        m.d.sync += answer.eq(Cat(second & known[Op.LDT], answer))
        m.d.sync += other_valid.eq(0)
        with m.If(second & known[Op.LI]):
            m.d.sync += [other.eq(LiWord(word).value), other_valid.eq(1)]
        with m.If(second & known[Op.GET]):
            m.d.sync += [other.eq(found), other_valid.eq(1)]
        with m.If(answer[1]):
            m.d.sync += [other.eq(self.delta), other_valid.eq(1)]
        with m.If(wait_over):
            m.d.sync += [other.eq(result_of_wait), other_valid.eq(1)]

        sweep = Signal(range(REGISTERS))
        asked, asked_index, asked_value = Signal(), Signal(range(REGISTERS)), Signal(32)
        m.d.comb += [
            write.addr.eq(fields.rd), write.data.eq(Mux(alu.valid, alu.result, other)),
            write.en.eq(alu.valid | other_valid),
        ]
        with m.If(self.clearing):
            m.d.comb += [write.addr.eq(sweep), write.data.eq(0), write.en.eq(1)]
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == REGISTERS - 1):
                m.d.sync += self.clearing.eq(0)
        with m.Elif(~(alu.valid | other_valid) & asked):
            m.d.comb += [write.addr.eq(asked_index), write.data.eq(asked_value), write.en.eq(1)]
            m.d.sync += asked.eq(0)
        with m.If(self.preset):
            m.d.sync += [asked.eq(1), asked_index.eq(self.preset_index),
                         asked_value.eq(self.preset_value)]

        # ------------------------------------------------ jumps, calls, loops
        jump = JumpWord(word)
        loop = LoopWord(word)
        stack = memory.Memory(shape=range(PROGRAM_DEPTH), depth=CALL_LEVELS, init=[],
                              attrs={"ram_style": "distributed"})
        m.submodules.stack = stack
        stack_write, stack_read = stack.write_port(), stack.read_port(domain="comb")
        calls = Signal(range(CALL_LEVELS + 1))
        next_place = Signal(range(PROGRAM_DEPTH))
        m.d.comb += [
            next_place.eq(place + 1),
            stack_write.addr.eq(calls), stack_write.data.eq(next_place),
            stack_read.addr.eq(calls - 1),
        ]
        call_full, call_none = Signal(), Signal()
        m.d.comb += [call_full.eq(calls == CALL_LEVELS), call_none.eq(calls == 0)]
        with m.If(go & known[Op.CALL] & ~call_full):
            m.d.comb += stack_write.en.eq(1)
            m.d.sync += calls.eq(calls + 1)
        with m.If(go & known[Op.RET] & ~call_none):
            m.d.sync += calls.eq(calls - 1)

        # A LOOP may have made way for the next instruction when its count is looked at.
        looping, loop_second = LoopWord(second_word), Signal()
        m.d.sync += loop_second.eq(go & known[Op.LOOP])
        loops_full = fetch.active[-1]
        m.d.comb += [
            fetch.push.eq(go & known[Op.LOOP] & ~empty & ~loops_full),
            fetch.first.eq(next_place), fetch.last.eq(place + loop.span),
            fetch.count.eq(Mux(looping.register, a, looping.count)),
        ]
        pops = Signal(LOOP_LEVELS + 1)
        m.d.comb += pops.eq(Cat(C(1, 1), fetch.active))
        few_loops = ~(pops >> jump.pop)[0]

        m.d.comb += [compare.condition.eq(branch_word.condition), compare.x.eq(a),
                     compare.y.eq(operand)]
        target = Signal(range(PROGRAM_DEPTH))
        with m.If(go):
            m.d.sync += target.eq(jump.target)
            with m.If(known[Op.RET]):
                m.d.sync += target.eq(stack_read.data)
            with m.If(known[Op.LOOP]):
                m.d.sync += target.eq(next_place)
        # Decided in the second tick, carried out in the third.
        leaves = Signal()
        m.d.comb += leaves.eq(second & (known[Op.JMP] | known[Op.BR] & compare.holds))
        jumps = Signal()
        m.d.comb += [
            jumps.eq(leaves | second & (known[Op.CALL] | known[Op.RET] | known[Op.LOOP] & short)),
            fetch.pop.eq(leaves & (jump.pop != 0)), fetch.pop_levels.eq(jump.pop),
            fetch.count_valid.eq(loop_second),
        ]

        # ------------------------------------------------ waits
        wait = WaitWord(word)
        elapsed = Signal(32)
        with m.If(take):
            m.d.sync += elapsed.eq(0)
        with m.Else():
            m.d.sync += elapsed.eq(elapsed + 1)
        rise, fall = self.triggers & ~inputs_before, ~self.triggers & inputs_before
        seen = Signal()
        with m.Switch(wait.mode):
            with m.Case(TriggerMode.RISE):
                m.d.comb += seen.eq((rise & wait.mask).any())
            with m.Case(TriggerMode.FALL):
                m.d.comb += seen.eq((fall & wait.mask).any())
            with m.Case(TriggerMode.HIGH):
                m.d.comb += seen.eq((self.triggers & wait.mask).any())
            with m.Case(TriggerMode.ALL):
                m.d.comb += seen.eq(~(~self.triggers & wait.mask).any())
        with m.If(go & known[Op.BARRIER]):
            m.d.sync += self.barrier.eq(~self.barrier)
        gathered = ~((self.peers ^ self.barrier.replicate(len(self.peers))) & wait.mask).any()

        verdict_waits, verdict_now = Signal(), Signal(4)
        m.d.comb += verdict_now.eq(Mux(self.verdict_valid, self.verdict, last_verdict))
        with m.If(self.verdict_valid):
            m.d.sync += [last_verdict.eq(self.verdict), verdict_seen.eq(1), verdict_waits.eq(1)]
        with m.If(go & known[Op.ARM]):
            m.d.sync += [verdict_seen.eq(0), verdict_waits.eq(0)]

        basis, of_shot = wait.mask[0], wait.mask[1]
        any_frame, last_frame = Signal(_BASES), Signal(_BASES)
        frame_now = Signal(8)
        frame_here = Signal(_BASES)
        m.d.comb += frame_here.eq(Mux(
            of_shot, last_frame | self.frame_valid & self.frame_last,
            any_frame | self.frame_valid))
        for i in range(_BASES):
            with m.If(self.frame_valid[i]):
                m.d.sync += [frames[i].eq(self.frame[i]), any_frame[i].eq(1)]
                with m.If(self.frame_last[i]):
                    m.d.sync += last_frame[i].eq(1)
            with m.If(basis == i):
                m.d.comb += frame_now.eq(Mux(self.frame_valid[i], self.frame[i], frames[i]))
        with m.If(go & known[Op.SYN] & SynWord(word).first):
            m.d.sync += [any_frame.eq(0), last_frame.eq(0)]

        looking, expired = Signal(), Signal()
        m.d.comb += looking.eq(waiting & ~issue)
        m.d.sync += expired.eq(due & waiting)
        met_quick = Signal()
        met_verdict = Signal()
        m.d.comb += [
            met_quick.eq(looking & (known[Op.WAITTRIG] & seen | known[Op.BARRIER] & gathered
                                    | known[Op.DEC] & frame_here.bit_select(basis, 1))),
            met_verdict.eq(looking & known[Op.BRH] & (verdict_waits | self.verdict_valid)),
            wait_over.eq(met_quick | met_verdict | looking & expired),
        ]
        pattern = Signal(5)
        m.d.comb += pattern.eq(Mux(met_verdict, verdict_now, 16))
        with m.If(known[Op.BRH]):
            m.d.comb += result_of_wait.eq(pattern)
        with m.Elif(known[Op.DEC]):
            m.d.comb += result_of_wait.eq(Mux(met_quick, frame_now, 0))
        with m.Else():
            m.d.comb += result_of_wait.eq(elapsed)
        with m.If(wait_over):
            m.d.sync += [waiting.eq(0), self.waited.eq(elapsed)]
            with m.If(known[Op.DEC] & met_quick):
                m.d.sync += [any_frame.bit_select(basis, 1).eq(0),
                             last_frame.bit_select(basis, 1).eq(0)]
            with m.If(met_verdict):
                m.d.sync += verdict_waits.eq(0)
            with m.If(met_quick):
                m.d.sync += open_.eq(1)

        # A wait that ends elsewhere.
        elsewhere = wait_over & ~met_quick
        away = Signal(range(PROGRAM_DEPTH))
        m.d.comb += away.eq(wait.target + Mux(
            known[Op.BRH], pattern << wait.mask[:3], 0))

        # ------------------------------------------------ times that are not in the word
        # DELAY: the register is added in the second tick.
        with m.If(second & known[Op.DELAY]):
            m.d.sync += remaining.eq(remaining - 1 + a)
        # WAITUNTIL: what is left, in two halves, counted from the second tick.
        since_start = Signal(64)
        minuend, subtrahend = Signal(64), Signal(64)
        left_low, left = Signal(33), Signal(65)
        until_at = Signal(3)
        with m.If(second):
            m.d.sync += [
                minuend.eq(Mux(UntilWord(word).registers, Cat(b, a), UntilWord(word).time)),
                subtrahend.eq(Mux(UntilWord(word).registers, self.tick, since_start)),
            ]
        m.d.sync += [
            until_at.eq(Cat(second & known[Op.WAITUNTIL], until_at)),
            left_low.eq(minuend[:32] - subtrahend[:32]),
            left.eq(Cat(left_low[:32], minuend[32:] - subtrahend[32:] - left_low[32])),
        ]
        late = Signal()
        m.d.comb += late.eq(until_at[2] & (left[64] | (left[:64] < UNTIL_TICKS - 1)))
        with m.If(until_at[2]):
            m.d.sync += [remaining.eq(left[:64] - 4), until.eq(0)]
            with m.If(left[:64] == UNTIL_TICKS - 1):
                m.d.sync += open_.eq(1)
        m.d.sync += since_start.eq(since_start + 1)
        with m.If(take & first):
            m.d.sync += since_start.eq(0)
        first_before = Signal()
        m.d.sync += first_before.eq(first)
        with m.If(first_before & ~first):
            m.d.sync += self.started.eq(self.tick)

        # ------------------------------------------------ faults and ends
        fault = Signal(Fault)
        with m.If(issue & illegal):
            m.d.comb += fault.eq(Fault.ILLEGAL)
        with m.Elif(go & known[Op.CALL] & call_full):
            m.d.comb += fault.eq(Fault.CALL_OVERFLOW)
        with m.Elif(go & known[Op.RET] & call_none):
            m.d.comb += fault.eq(Fault.CALL_UNDERFLOW)
        with m.Elif(go & known[Op.LOOP] & empty
                    | second & known[Op.LOOP] & loop.register & (a == 0)):
            m.d.comb += fault.eq(Fault.LOOP_EMPTY)
        with m.Elif(go & known[Op.LOOP] & loops_full):
            m.d.comb += fault.eq(Fault.LOOP_OVERFLOW)
        with m.Elif(leaves & few_loops):
            m.d.comb += fault.eq(Fault.LOOP_UNDERFLOW)
        with m.Elif(late):
            m.d.comb += fault.eq(Fault.LATE)
        halts = go & known[Op.HALT]
        m.d.comb += end.eq(halts | (fault != Fault.NONE) | self.stop)

        redirect, to = Signal(), Signal(range(PROGRAM_DEPTH))
        m.d.sync += redirect.eq((jumps | elsewhere) & ~end & self.running)
        with m.If(elsewhere):
            m.d.sync += to.eq(away)
        with m.Elif(jumps):
            m.d.sync += to.eq(target)
        m.d.comb += [fetch.redirect.eq(redirect), fetch.target.eq(to)]
        away_from_wait = Signal()
        m.d.sync += away_from_wait.eq(elsewhere & ~end)
        with m.If(away_from_wait):
            m.d.sync += open_.eq(1)

        with m.If(end & self.running):
            m.d.sync += [self.running.eq(0), self.halted.eq(halts & ~self.stop), open_.eq(0),
                         waiting.eq(0), until.eq(0), issue.eq(0), until_at.eq(0),
                         self.stopped.eq(Mux(issue, self.tick, now)),
                         self.fault.eq(Mux(self.stop, Fault.NONE, fault))]
            m.d.comb += fetch.flush.eq(1)
            with m.If(halts & ~self.stop):
                m.d.sync += self.halt_code.eq(word[48:])
        with m.If(self.stop & self.clear):
            m.d.sync += [self.clearing.eq(1), sweep.eq(0)]
        with m.If(issue):
            m.d.sync += self.pc.eq(place)

        # ------------------------------------------------ start
        # Fetched first, then released.
        starting, held = Signal(), Signal()
        with m.If(self.start & ~self.running & ~self.stop):
            m.d.sync += [
                self.running.eq(1), self.halted.eq(0), self.fault.eq(Fault.NONE),
                redirect.eq(1), to.eq(self.start_pc), calls.eq(0), self.barrier.eq(0),
                verdict_seen.eq(0), verdict_waits.eq(0), any_frame.eq(0), last_frame.eq(0),
                first.eq(1), starting.eq(1), held.eq(self.timed),
            ]
        with m.If(starting & fetch.valid & ~self.clearing & (~held | self.release)):
            m.d.sync += [starting.eq(0), open_.eq(1)]
        with m.If(end):
            m.d.sync += starting.eq(0)
        m.d.comb += self.armed.eq(starting & held & fetch.valid & ~self.clearing)
        return m
