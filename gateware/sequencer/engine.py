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
from quantacore.gateware.logic import any_of
from quantacore.gateware.sequencer.alu import Alu, Comparator
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.sequencer.fetch import Fetcher

__all__ = ["Engine"]

#: Operations that the engine tells apart; it passes all others on.
_KNOWN = (Op.LOOP, Op.JMP, Op.CALL, Op.RET, Op.BR, Op.HALT, Op.DELAY, Op.WAITUNTIL, Op.WAITTRIG,
          Op.BARRIER, Op.BRH, Op.DEC, Op.ARM, Op.LDT, Op.LI, Op.ALU, Op.GET, Op.SYN)
_WAITS = (Op.WAITTRIG, Op.BARRIER, Op.BRH, Op.DEC)
_BASES = 2
#: Bit of a ``BRH`` that goes on with the next word.
_ONWARD = WaitWord.as_shape()["mode"].offset


class _Decoder(wiring.Component):
    """What a word asks for, before it is issued; combinational.

    ``known[i]`` is set for operation ``_KNOWN[i]``. ``exists``: there is such a word; ``least`` is
    how long it must last. ``ticks`` is the dwell, or for a wait one more than its timeout; ``one``
    says that it is 1.
    """

    word: In(64)
    known: Out(len(_KNOWN))
    waits: Out(1)
    exists: Out(1)
    least: Out(4)
    short: Out(1)
    ticks: Out(48)
    one: Out(1)

    def elaborate(self, platform):
        m = Module()
        word = AnyInstruction(self.word)
        loop, nop, wait = LoopWord(self.word), NopWord(self.word), WaitWord(self.word)
        # Codes behind the last one of an enumeration.
        function, condition, source = (self.word[56:60], self.word[56:59], self.word[60:64])
        multiplies = function == AluFunction.MUL.value
        is_op = {op: Signal(name=f"op_{op.name.lower()}") for op in Op}
        refused = {
            Op.ALU: function > max(member.value for member in AluFunction),
            Op.BR: condition > max(member.value for member in Condition),
            Op.GET: source > max(member.value for member in Source),
        }
        least = {op: C(least_dwell(op), 4) for op in Op}
        least[Op.ALU] = Mux(multiplies, C(MUL_TICKS, 4), least[Op.ALU])
        least[Op.LOOP] = Mux(self.short, C(least_dwell(Op.LOOP, short=True), 4), Mux(
            loop.register, C(least_dwell(Op.LOOP, register=True), 4), least[Op.LOOP]))
        # Long ones may have 0 in the lower part.
        least[Op.NOP] = Cat(~nop.more.any(), C(0, 3))
        m.d.comb += [is_op[op].eq(word.op == op) for op in Op]
        m.d.comb += [
            self.known.eq(Cat(is_op[op] for op in _KNOWN)),
            self.waits.eq(any_of(is_op[op] for op in _WAITS)),
            self.exists.eq(any_of(is_op[op] & ~refused[op] if op in refused else is_op[op]
                                  for op in Op)),
            self.least.eq(any_of(least[op] & is_op[op].replicate(4) for op in Op)),
            self.short.eq(loop.span < SHORT_LOOP),
            self.ticks.eq(Mux(self.waits, wait.timeout + 1,
                              Cat(word.dwell, Mux(is_op[Op.NOP], nop.more, 0)))),
            self.one.eq(~self.waits & ~is_op[Op.WAITUNTIL] & (word.dwell == 1)
                        & ~(is_op[Op.NOP] & nop.more.any())),
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
    calls : Out(4), loops : Out(4)
        Calls and loops that the program is in; a bit for each loop, outermost first.
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
    clicked : In(32), sites : In(16), herald_frame : In(8), attempt : In(32)
        What ``GET`` reads of the herald.
    delta : In(signed(32))
        Answer to ``LDT``, four ticks after it was issued.
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
    calls: Out(range(CALL_LEVELS + 1))
    loops: Out(LOOP_LEVELS)
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
    clicked: In(32)
    sites: In(16)
    herald_frame: In(8)
    attempt: In(32)
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
        word, place, next_place = Signal(64), Signal(range(PROGRAM_DEPTH)), Signal(
            range(PROGRAM_DEPTH))
        issue, exists, least, lasts_long = Signal(), Signal(), Signal(4), Signal()
        known = {op: Signal(name=f"is_{op.name.lower()}") for op in _KNOWN}
        short = Signal()
        open_, first = Signal(), Signal()
        remaining = Signal(48)
        take = Signal()
        # What ends a program is known in the tick after its issue. `barred`: what is issued then
        # is not meant to be. `cease`: nothing more is; `ending`: a clock later.
        go, barred, cease, ending = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [take.eq(open_ & fetch.valid), fetch.take.eq(take), go.eq(issue & ~barred)]
        m.d.sync += [issue.eq(take), remaining.eq(remaining - 1)]
        due = Signal()
        m.d.comb += due.eq(remaining == 2)
        waiting, until, waits, onward = Signal(), Signal(), Signal(), Signal()
        wanted = {source: Signal(name=f"wants_{source.name.lower()}") for source in Source}
        with m.If(take):
            m.d.sync += [
                word.eq(fetch.word), place.eq(fetch.pc), next_place.eq(fetch.pc + 1),
                exists.eq(decode.exists),
                least.eq(decode.least), short.eq(decode.short),
                lasts_long.eq(AnyInstruction(fetch.word).dwell[len(least):].any()),
                remaining.eq(decode.ticks), open_.eq(decode.one),
                waiting.eq(decode.waits), waits.eq(decode.waits),
                until.eq(decode.known[_KNOWN.index(Op.WAITUNTIL)]
                         | decode.known[_KNOWN.index(Op.DELAY)]),
                onward.eq(decode.known[_KNOWN.index(Op.BRH)] & fetch.word[_ONWARD]),
                first.eq(0),
            ]
            m.d.sync += [flag.eq(decode.known[i]) for i, flag in enumerate(known.values())]
            m.d.sync += [
                flag.eq(decode.known[_KNOWN.index(Op.GET)] & (fetch.word[60:] == source.value))
                for source, flag in wanted.items()]
        with m.Elif(due & ~waits & ~until & self.running & ~first):
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
        illegal, is_illegal = Signal(), Signal()
        m.d.sync += second.eq(go)
        # By then the word may be the next one's already, be it issued or not. `own`: it is not;
        # `its[op]`: and the operation is that one.
        own = Signal()
        its = {op: Signal(name=f"its_{op.name.lower()}") for op in (
            Op.ALU, Op.LI, Op.GET, Op.LDT, Op.CALL, Op.RET, Op.DELAY, Op.WAITUNTIL)}
        stays = Signal()
        m.d.comb += stays.eq(go & ~take & ~is_illegal)
        m.d.sync += own.eq(stays)
        m.d.sync += [flag.eq(stays & known[op]) for op, flag in its.items()]
        with m.If(go):
            m.d.sync += [a.eq(look_a.data), b.eq(look_b.data), second_word.eq(word),
                         operand.eq(look_b.data)]
            with m.If(known[Op.ALU] & alu_word.immediate):
                m.d.sync += operand.eq(alu_word.value)
            with m.Elif(known[Op.BR] & branch_word.immediate):
                m.d.sync += operand.eq(branch_word.value)
        m.d.comb += [
            self.command.valid.eq(second & ~illegal), self.command.payload.word.eq(second_word),
            self.command.payload.a.eq(a), self.command.payload.b.eq(b),
        ]
        now, past_tick = Signal(64), Signal(32)
        with m.If(go):
            m.d.sync += now.eq(self.tick)
        inputs_before = Signal(8)
        m.d.sync += inputs_before.eq(self.triggers)

        # Results, none in the same clock as another: every instruction that has one lasts until
        # it is written. Whoever has none says 0.
        other, other_valid = Signal(32), Signal()
        looking = Signal()
        result_of_wait = Signal(32)
        m.d.comb += [
            alu.start.eq(its[Op.ALU]), alu.function.eq(alu_word.function),
            alu.shift.eq(alu_word.shift), alu.x.eq(a), alu.y.eq(operand),
        ]
        verdict_seen, last_verdict = Signal(), Signal(4)
        frames = [Signal(8, name=f"frame_{basis}") for basis in range(_BASES)]
        # What GET finds is there in the tick of issue, but for what strobes leave behind: that is
        # there a tick later.
        found, left_behind = Signal(32), Signal(16)

        def chosen(sources):
            return any_of(value & wanted[source].replicate(len(value))
                          for source, value in sources.items())

        m.d.sync += found.eq(chosen({
            Source.TICK_LOW: self.tick[:32], Source.TICK_HIGH: past_tick,
            Source.WAITED: self.waited, Source.INPUTS: self.triggers,
            Source.CLICKED: self.clicked, Source.SITES: self.sites,
            Source.HERALD_FRAME: self.herald_frame, Source.ATTEMPT: self.attempt,
        }))
        m.d.comb += left_behind.eq(chosen({
            Source.VERDICT: Cat(last_verdict, verdict_seen), Source.FRAME: Cat(frames)}))
        got_tick = Signal()
        m.d.sync += got_tick.eq(own & wanted[Source.TICK_LOW])
        with m.If(got_tick):
            m.d.sync += past_tick.eq(now[32:])
        answer = Signal(3)
        m.d.sync += answer.eq(Cat(its[Op.LDT], answer))
        m.d.sync += [other.eq(0), other_valid.eq(0)]
        with m.If(its[Op.LI]):
            m.d.sync += [other.eq(LiWord(word).value), other_valid.eq(1)]
        with m.If(its[Op.GET]):
            m.d.sync += [other.eq(found | left_behind), other_valid.eq(1)]
        with m.If(answer[2]):
            m.d.sync += [other.eq(self.delta), other_valid.eq(1)]

        # Written a clock later. A wait writes what it would leave if it ended, for every tick, in
        # the tick after: the next instruction may be issued in the one after that.
        result, result_index, result_valid = Signal(32), Signal(range(REGISTERS)), Signal()
        m.d.sync += [
            result.eq(alu.result | other), result_index.eq(fields.rd),
            result_valid.eq(alu.valid | other_valid | looking),
        ]
        sweep = Signal(range(REGISTERS))
        asked, asked_index, asked_value = Signal(), Signal(range(REGISTERS)), Signal(32)
        m.d.comb += [write.addr.eq(result_index), write.data.eq(result | result_of_wait),
                     write.en.eq(result_valid)]
        with m.If(self.clearing):
            m.d.comb += [write.addr.eq(sweep), write.data.eq(0), write.en.eq(1)]
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == REGISTERS - 1):
                m.d.sync += self.clearing.eq(0)
        with m.Elif(~result_valid & asked):
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
        calls = self.calls
        m.d.comb += self.loops.eq(fetch.active)
        m.d.comb += [
            stack_write.addr.eq(calls), stack_write.data.eq(next_place),
            stack_read.addr.eq(calls - 1),
        ]
        call_full, call_none = Signal(), Signal()
        m.d.comb += [call_full.eq(calls == CALL_LEVELS), call_none.eq(calls == 0)]
        m.d.comb += stack_write.en.eq(its[Op.CALL] & ~call_full)
        with m.If(its[Op.CALL] & ~call_full):
            m.d.sync += calls.eq(calls + 1)
        with m.If(its[Op.RET] & ~call_none):
            m.d.sync += calls.eq(calls - 1)

        # A LOOP may have made way for the next instruction when its count is looked at.
        looping, loop_second = LoopWord(second_word), Signal()
        m.d.sync += [
            loop_second.eq(go & known[Op.LOOP]), fetch.count_valid.eq(loop_second),
            fetch.count.eq(Mux(looping.register, a, looping.count)),
        ]
        loops_full = fetch.active[-1]
        m.d.comb += [
            fetch.push.eq(go & known[Op.LOOP] & ~loops_full), fetch.single.eq(loop.span == 1),
            fetch.first.eq(next_place), fetch.last.eq(place + loop.span),
        ]
        pops, leaves = Signal(LOOP_LEVELS + 1), Signal(3)
        m.d.comb += pops.eq(Cat(C(1, 1), fetch.active))
        m.d.sync += leaves.eq(Mux(known[Op.BRH], WaitWord(word).mask[3:6], jump.pop))
        few_loops = ~(pops >> leaves)[0]

        m.d.comb += [compare.condition.eq(branch_word.condition), compare.x.eq(a),
                     compare.y.eq(operand)]
        target = Signal(range(PROGRAM_DEPTH))
        with m.If(go):
            m.d.sync += target.eq(jump.target)
            with m.If(known[Op.RET]):
                m.d.sync += target.eq(stack_read.data)
            with m.If(known[Op.LOOP]):
                m.d.sync += target.eq(next_place)
        # Decided in the third tick, carried out in the fourth. What it was goes along: a LOOP may
        # have made way for the next instruction by then.
        branches, escapes, always = (Signal(2, name=name)
                                     for name in ("branches", "escapes", "always"))
        m.d.sync += [
            branches.eq(Cat(go & known[Op.BR], branches)),
            escapes.eq(Cat(go & known[Op.JMP], escapes)),
            always.eq(Cat(go & (known[Op.JMP] | known[Op.CALL] | known[Op.RET]
                                | known[Op.LOOP] & short), always)),
        ]
        taken = branches[1] & compare.holds
        jumps, left, few_left = Signal(), Signal(), Signal()
        found_verdict, missed = Signal(), Signal()
        m.d.comb += [
            jumps.eq(always[1] | taken), fetch.pop_levels.eq(leaves),
            fetch.pop.eq(escapes[1] | taken | found_verdict | missed & known[Op.BRH]),
        ]
        m.d.sync += [left.eq(fetch.pop), few_left.eq(few_loops)]

        # ------------------------------------------------ waits
        wait = WaitWord(word)
        elapsed = Signal(32)
        with m.If(take):
            m.d.sync += elapsed.eq(0)
        with m.Else():
            m.d.sync += elapsed.eq(elapsed + 1)
        # What is looked at, in registers that are 0 where nothing is: there is time, for a wait
        # looks at nothing in the tick of its issue.
        masks, waits_all = {}, Signal()
        for mode in TriggerMode:
            masks[mode] = Signal(8, name=f"mask_{mode.name.lower()}")
            m.d.sync += masks[mode].eq(Mux(known[Op.WAITTRIG] & (wait.mode == mode), wait.mask, 0))
        m.d.sync += waits_all.eq(known[Op.WAITTRIG] & (wait.mode == TriggerMode.ALL))
        now_high, was_high = self.triggers, inputs_before
        seen = (now_high & (masks[TriggerMode.HIGH] | ~was_high & masks[TriggerMode.RISE])
                | ~now_high & was_high & masks[TriggerMode.FALL]).any()
        all_seen = waits_all & ~(~now_high & masks[TriggerMode.ALL]).any()
        with m.If(go & known[Op.BARRIER]):
            m.d.sync += self.barrier.eq(~self.barrier)
        gathered = ~((self.peers ^ self.barrier.replicate(len(self.peers))) & wait.mask).any()

        # What a wait took is taken before what comes in the same clock is kept.
        basis, of_shot = wait.mask[0], wait.mask[1]
        takes_any, takes_last = Signal(_BASES), Signal(_BASES)
        for i in range(_BASES):
            asks = known[Op.DEC] & (basis == i)
            m.d.sync += [takes_any[i].eq(asks & ~of_shot), takes_last[i].eq(asks & of_shot)]
        met, over = Signal(), Signal()
        verdict_waits = Signal()
        any_frame, last_frame = Signal(_BASES), Signal(_BASES)
        with m.If(over & met):
            with m.If(known[Op.BRH]):
                m.d.sync += verdict_waits.eq(0)
            with m.If(known[Op.DEC]):
                m.d.sync += [any_frame.bit_select(basis, 1).eq(0),
                             last_frame.bit_select(basis, 1).eq(0)]
        with m.If(self.verdict_valid):
            m.d.sync += [last_verdict.eq(self.verdict), verdict_seen.eq(1), verdict_waits.eq(1)]
        with m.If(go & known[Op.ARM]):
            m.d.sync += [verdict_seen.eq(0), verdict_waits.eq(0)]
        for i in range(_BASES):
            with m.If(self.frame_valid[i]):
                m.d.sync += [frames[i].eq(self.frame[i]), any_frame[i].eq(1)]
                with m.If(self.frame_last[i]):
                    m.d.sync += last_frame[i].eq(1)
        with m.If(go & known[Op.SYN] & SynWord(word).first):
            m.d.sync += [any_frame.eq(0), last_frame.eq(0)]

        # The tick that ends it.
        expired = Signal()
        frame_here = Signal(_BASES)
        m.d.sync += expired.eq(due & waiting)
        m.d.comb += [
            looking.eq(waiting & ~issue),
            frame_here.eq(takes_last & (last_frame | self.frame_valid & self.frame_last)
                          | takes_any & (any_frame | self.frame_valid)),
        ]
        met_here, met_verdict, goes_on = Signal(), Signal(), Signal()
        m.d.comb += [
            met_here.eq(seen | all_seen | known[Op.BARRIER] & gathered | frame_here.any()),
            met_verdict.eq(known[Op.BRH] & (verdict_waits | self.verdict_valid)),
            # The next word is fetched already.
            goes_on.eq(met_here | expired & onward & ~met_verdict),
        ]
        ends_here = looking & (met_here | met_verdict | expired)
        m.d.sync += [met.eq(met_here | met_verdict), over.eq(ends_here)]
        with m.If(ends_here):
            m.d.sync += waiting.eq(0)
        with m.If(looking & goes_on):
            m.d.sync += open_.eq(1)
        # An entry of a table takes a clock to be found; the one of the timeout is known before.
        found_entry, missed_entry = (Signal(range(PROGRAM_DEPTH), name=name)
                                     for name in ("found_entry", "missed_entry"))
        m.d.sync += [
            found_verdict.eq(looking & met_verdict),
            found_entry.eq(Mux(self.verdict_valid, self.verdict, last_verdict) << wait.mask[:3]),
            missed_entry.eq(wait.target + Mux(known[Op.BRH], 16 << wait.mask[:3], 0)),
        ]
        m.d.comb += missed.eq(looking & expired & ~met_here & ~met_verdict & ~onward)

        # What a wait leaves, a tick later: then all of it is in registers.
        lasted = Signal(32)
        m.d.sync += lasted.eq(elapsed)
        with m.If(over):
            m.d.sync += self.waited.eq(lasted)
        left_ticks, left_pattern, left_frame = Signal(), Signal(), Signal(_BASES)
        m.d.sync += [
            left_ticks.eq(looking & (known[Op.WAITTRIG] | known[Op.BARRIER])),
            left_pattern.eq(looking & known[Op.BRH]),
        ]
        for i in range(_BASES):
            m.d.sync += left_frame[i].eq(looking & frame_here[i])
        m.d.comb += result_of_wait.eq(
            lasted & left_ticks.replicate(32)
            | Mux(met, last_verdict, 16) & left_pattern.replicate(5)
            | any_of(frame & left_frame[i].replicate(8) for i, frame in enumerate(frames)))

        # ------------------------------------------------ times that are not in the word
        # What is left of them, counted from the second tick, in two halves.
        since_start = Signal(64)
        minuend, subtrahend, adds = Signal(64), Signal(64), Signal()
        left_low, left_over = Signal(33), Signal(66)
        until_at = Signal(3)
        until_word = UntilWord(word)
        with m.If(own):
            m.d.sync += [
                minuend.eq(Mux(until_word.registers, Cat(b, a), until_word.time)),
                subtrahend.eq(Mux(until_word.registers, self.tick, since_start)), adds.eq(0),
            ]
            with m.If(its[Op.DELAY]):
                # One's complement: what is added is what remains of the dwell.
                m.d.sync += [minuend.eq(a), adds.eq(1),
                             subtrahend.eq(Cat(~remaining[:14], C((1 << 50) - 1, 50)))]
        m.d.sync += [
            until_at.eq(Cat(its[Op.WAITUNTIL] | its[Op.DELAY], until_at)),
            left_low.eq(minuend[:32] + ~subtrahend[:32] + ~adds),
            left_over.eq(Cat(left_low[:32],
                             minuend[32:] + ~subtrahend[32:] + left_low[32])),
        ]
        until_set = until_at[2]
        near = ~left_over[3:64].any()
        past, soon, far = Signal(), Signal(), Signal()
        m.d.sync += [
            past.eq(until_set & ~left_over[64] & ~adds), far.eq(until_set & left_over[48:64].any()),
            soon.eq(until_set & near & (left_over[:3] < UNTIL_TICKS - 1)),
        ]
        with m.If(until_set):
            # It is three ticks later than when this was counted from, and `due` is for a tick more.
            m.d.sync += [remaining.eq(left_over[:48] - 4), until.eq(0)]
        m.d.sync += since_start.eq(since_start + 1)
        with m.If(take & first):
            m.d.sync += since_start.eq(0)
        first_before = Signal()
        m.d.sync += first_before.eq(first)
        with m.If(first_before & ~first):
            m.d.sync += self.started.eq(self.tick)

        # ------------------------------------------------ faults and ends
        # What the word itself shows, or the loops that it is in, is known a tick after its issue,
        # and the instruction that may be issued in that tick is barred. All else comes of
        # instructions that last longer.
        halts, no_body, no_level = Signal(), Signal(), Signal()
        is_empty = Signal()
        m.d.comb += [
            is_illegal.eq(go & (~exists | ~lasts_long & (fields.dwell[:4] < least))),
            is_empty.eq(go & known[Op.LOOP]
                        & ((loop.span == 0) | ~loop.register & (loop.count == 0))),
        ]
        m.d.sync += [
            illegal.eq(is_illegal), no_body.eq(is_empty), halts.eq(go & known[Op.HALT]),
            no_level.eq(go & known[Op.LOOP] & loops_full),
            barred.eq(is_illegal | is_empty | go & (known[Op.HALT] | known[Op.LOOP] & loops_full)),
        ]
        later, fails = Signal(Fault), Signal()
        m.d.sync += [later.eq(Fault.NONE), fails.eq(0)]
        with m.If(its[Op.CALL] & call_full):
            m.d.sync += [later.eq(Fault.CALL_OVERFLOW), fails.eq(1)]
        with m.If(its[Op.RET] & call_none):
            m.d.sync += [later.eq(Fault.CALL_UNDERFLOW), fails.eq(1)]
        no_count = Signal()
        m.d.sync += no_count.eq(loop_second & looping.register & (a == 0))
        with m.If(no_count):
            m.d.sync += [later.eq(Fault.LOOP_EMPTY), fails.eq(1)]
        with m.If(left & few_left):
            m.d.sync += [later.eq(Fault.LOOP_UNDERFLOW), fails.eq(1)]
        with m.If(past | soon | far):
            m.d.sync += [later.eq(Fault.LATE), fails.eq(1)]
        cause, halted = Signal(Fault), Signal()
        m.d.comb += cease.eq(self.running & (barred | fails | self.stop))
        m.d.sync += [ending.eq(cease), halted.eq(halts), cause.eq(later)]
        with m.If(illegal):
            m.d.sync += cause.eq(Fault.ILLEGAL)
        with m.Elif(no_body):
            m.d.sync += cause.eq(Fault.LOOP_EMPTY)
        with m.Elif(no_level):
            m.d.sync += cause.eq(Fault.LOOP_OVERFLOW)
        with m.If(cease):
            m.d.sync += [issue.eq(0), open_.eq(0), waiting.eq(0), until.eq(0), until_at.eq(0)]
        m.d.comb += fetch.flush.eq(ending)
        with m.If(ending):
            m.d.sync += [self.running.eq(0), self.halted.eq(halted), self.fault.eq(cause),
                         self.stopped.eq(now), open_.eq(0), waiting.eq(0)]
            with m.If(halted):
                m.d.sync += self.halt_code.eq(second_word[48:])
        with m.If(self.stop & self.clear):
            m.d.sync += [self.clearing.eq(1), sweep.eq(0)]

        redirect, to = Signal(), Signal(range(PROGRAM_DEPTH))
        away = Signal()
        m.d.sync += [
            redirect.eq((jumps | missed | found_verdict) & self.running & ~ending),
            away.eq((missed | found_verdict) & self.running & ~ending),
        ]
        with m.If(found_verdict):
            m.d.sync += to.eq(wait.target + found_entry)
        with m.Elif(waiting):
            m.d.sync += to.eq(missed_entry)
        with m.Else():
            m.d.sync += to.eq(target)
        m.d.comb += [fetch.redirect.eq(redirect), fetch.target.eq(to)]
        with m.If(away & ~cease & ~ending):
            m.d.sync += open_.eq(1)
        with m.If(go):
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
        with m.If(starting & fetch.valid & ~self.clearing & (~held | self.release) & ~cease
                  & ~ending):
            m.d.sync += [starting.eq(0), open_.eq(1)]
        with m.If(ending):
            m.d.sync += starting.eq(0)
        m.d.comb += self.armed.eq(starting & held & fetch.valid & ~self.clearing)
        return m
