"""The golden interpreter, instruction by instruction, with ticks worked out by hand."""


import pytest

from quantacore.gateware.layouts.instructions import (
    BRANCH_TICKS,
    CALL_LEVELS,
    DATA_TICKS,
    DELAY_TICKS,
    LDT_TICKS,
    LOOP_LEVELS,
    MUL_TICKS,
    PROGRAM_DEPTH,
    SHORT_LOOP,
    TIMEOUT_TICKS,
    TRIGGER_TICKS,
    UNTIL_TICKS,
    VERDICT_TICKS,
    AluFunction,
    Condition,
    Fault,
    Op,
    Source,
    TriggerMode,
    least_dwell,
)
from quantacore.gateware.layouts.sequencer import SequencerState
from quantacore.sim.golden.sequencer import SequencerModel, World, encode, fields

#: Tick of the first instruction.
T = 1000
#: Costs: of a branch, of data, of a multiplication; after a timeout (late), a trigger (go) and a
#: verdict.
B, D, M = BRANCH_TICKS, DATA_TICKS, MUL_TICKS
L, G, V = TIMEOUT_TICKS, TRIGGER_TICKS, VERDICT_TICKS
FOREVER = 1 << 70


def nop(dwell=1):
    return encode(Op.NOP, dwell=dwell & 0x3FFF, more=dwell >> 14)


def li(rd, value):
    return encode(Op.LI, dwell=D, rd=rd, value=value & 0xFFFFFFFF)


def show(a, b=0):
    """A mark that puts two registers on the command bus."""
    return encode(Op.TAG, dwell=1, code=a << 12 | b)


def loop(span, count, dwell=B):
    return encode(Op.LOOP, dwell=dwell, span=span, count=count)


def jump(op, target=0, pop=0, dwell=B):
    return encode(op, dwell=dwell, target=target, pop=pop)


HALT = encode(Op.HALT, code=0x1234)


def run(program, *, until=FOREVER, pc=0, world=None, presets=(), tick=T):
    model = SequencerModel(program)
    for i, value in enumerate(presets):
        model.registers[i] = value
    model.start(tick, world or World(), pc=pc)
    model.advance(until)
    return model


def ticks(model):
    return [command[0] - T for command in model.commands]


def path(model, program):
    """Addresses of the commands, for programs of words that all differ."""
    return [program.index(word) for _, word, _, _ in model.commands]


def result(words, *, presets=(), world=None, rd=7):
    """Value of ``rd`` after ``words``."""
    model = run([*words, HALT], presets=presets, world=world)
    assert model.state is SequencerState.HALTED
    return model.registers[rd]


# -- words -----------------------------------------------------------------------------------------


def test_words_are_packed_and_unpacked():
    word = encode(Op.BR, dwell=9, target=0xABC, value=-2, pop=3, condition=Condition.GEU,
                  immediate=1, ra=11)
    assert word == (20 | 9 << 6 | 0xABC << 20 | 0xFFFE << 32 | 3 << 52 | 5 << 56 | 1 << 59
                    | 11 << 60)
    op, found = fields(word)
    assert op is Op.BR
    assert found["value"] == -2 and found["pop"] == 3 and found["ra"] == 11
    assert fields(0) == (None, {})


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="dwell of NOP must be between 0 and 16383, not 16384"):
        encode(Op.NOP, dwell=1 << 14)
    with pytest.raises(ValueError, match="value of ALU must be between -524288 and 524287"):
        encode(Op.ALU, value=1 << 19)


def test_program_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 4096 words, not 4097"):
        SequencerModel([nop()] * (PROGRAM_DEPTH + 1))


def test_world_out_of_order_is_refused():
    with pytest.raises(ValueError, match="order of time"):
        World(triggers=[(5, 1), (5, 2)])


# -- time ------------------------------------------------------------------------------------------


def test_dwell_is_the_time_to_the_next_instruction():
    model = run([nop(1), nop(1), nop(7), nop((5 << 14) + 3), HALT])
    assert ticks(model) == [0, 1, 2, 9, 9 + (5 << 14) + 3]
    assert model.state is SequencerState.HALTED
    assert (model.stopped, model.pc, model.halt_code) == (model.commands[-1][0], 4, 0x1234)
    assert model.started == T and model.fault is Fault.NONE


@pytest.mark.parametrize("op", [op for op in Op if least_dwell(op)])
def test_least_dwell_is_met_and_less_is_refused(op):
    more = {"span": SHORT_LOOP, "count": 1} if op is Op.LOOP else {}
    least = least_dwell(op)
    target = {"target": 1} if op in (Op.JMP, Op.CALL, Op.BR) else {}
    program = [encode(op, dwell=least, **target, **more), HALT]
    if op is Op.RET:
        program = [encode(Op.RET, dwell=least - 1)]
        assert run(program).fault is Fault.ILLEGAL
        return
    assert ticks(run(program)) == [0, least]
    model = run([nop(4), encode(op, dwell=least - 1, **target, **more), HALT])
    assert (model.fault, model.pc, model.stopped) == (Fault.ILLEGAL, 1, T + 4)
    assert model.state is SequencerState.FAULT
    assert ticks(model) == [0]


def test_least_dwell_of_multiplications_and_loops():
    def fault(op, dwell, **more):
        return run([encode(op, dwell=dwell, **more), *[nop()] * SHORT_LOOP, HALT],
                   presets=[1]).fault

    assert fault(Op.ALU, M - 1, function=AluFunction.MUL) is Fault.ILLEGAL
    assert fault(Op.ALU, M, function=AluFunction.MUL) is Fault.NONE
    assert fault(Op.ALU, D, function=AluFunction.SAR) is Fault.NONE
    assert fault(Op.LOOP, B - 1, span=SHORT_LOOP - 1, count=1) is Fault.ILLEGAL
    assert fault(Op.LOOP, B, span=SHORT_LOOP - 1, count=1) is Fault.NONE
    assert fault(Op.LOOP, 1, span=SHORT_LOOP, count=1) is Fault.NONE
    assert fault(Op.LOOP, D - 1, span=SHORT_LOOP, register=1) is Fault.ILLEGAL
    assert fault(Op.LOOP, D, span=SHORT_LOOP, register=1) is Fault.NONE
    assert fault(Op.LOOP, B - 1, span=SHORT_LOOP - 1, register=1) is Fault.ILLEGAL


def test_long_nop_needs_no_low_dwell():
    assert ticks(run([encode(Op.NOP, more=1), HALT])) == [0, 1 << 14]


def test_delay_adds_a_register():
    program = [encode(Op.DELAY, dwell=DELAY_TICKS, ra=2), encode(Op.DELAY, dwell=99, ra=3), HALT]
    first = 100 + DELAY_TICKS
    assert ticks(run(program, presets=[0, 0, 100, 0xFFFFFFFF])) == [0, first,
                                                                   first + 99 + 0xFFFFFFFF]


def test_wait_until_is_counted_from_the_start():
    program = [nop(10), encode(Op.WAITUNTIL, time=10 + UNTIL_TICKS),
               encode(Op.WAITUNTIL, time=0x123456789ABC), HALT]
    assert ticks(run(program)) == [0, 10, 10 + UNTIL_TICKS, 0x123456789ABC]


def test_wait_until_too_near_is_a_fault():
    model = run([nop(10), encode(Op.WAITUNTIL, time=9 + UNTIL_TICKS), HALT])
    assert (model.fault, model.pc, model.stopped) == (Fault.LATE, 1, T + 10)
    assert ticks(model) == [0, 10]


def test_wait_until_absolute():
    program = [encode(Op.WAITUNTIL, registers=1) | 1 << 60 | 2 << 48, HALT]
    model = run(program, presets=[0, 3, 77])
    assert model.commands[-1][0] == (3 << 32) + 77
    assert model.commands[0][2:] == (3, 77)


def test_wait_until_too_far_is_a_fault():
    program = [encode(Op.WAITUNTIL, registers=1) | 1 << 60 | 2 << 48, HALT]
    for more, fault in ((0, Fault.NONE), (1, Fault.LATE)):
        model = run(program, presets=[0, (T + (1 << 48)) >> 32, (T + more) & 0xFFFFFFFF])
        assert model.fault is fault


def test_wait_until_leaves_waited_alone():
    program = [encode(Op.WAITTRIG, mode=TriggerMode.HIGH, mask=1, timeout=9, target=1),
               encode(Op.WAITUNTIL, time=100), encode(Op.GET, dwell=D, source=Source.WAITED, rd=7)]
    assert result(program) == 9


# -- the command bus -------------------------------------------------------------------------------


def test_registers_go_out_with_every_word():
    word = 1 << 60 | 2 << 48 | encode(Op.SET, dwell=1)
    model = run([word, HALT], presets=[5, 6, 7])
    assert model.commands == [(T, word, 6, 7), (T + 1, HALT, 6, 0)]


def test_faults_at_execution_are_issued_and_illegal_words_are_not():
    assert len(run([jump(Op.RET)]).commands) == 1
    assert run([0]).commands == []


def test_memory_that_was_never_loaded_is_illegal():
    model = run([nop(2)])
    assert (model.fault, model.pc, model.stopped) == (Fault.ILLEGAL, 1, T + 2)


@pytest.mark.parametrize("word", [
    63, 12, encode(Op.ALU, dwell=99) | 9 << 56, encode(Op.BR, dwell=99) | 6 << 56,
    encode(Op.BR, dwell=99) | 7 << 56, encode(Op.GET, dwell=99) | 10 << 60,
])
def test_unknown_codes_are_illegal(word):
    # What follows would be illegal too.
    model = run([word])
    assert (model.fault, model.pc) == (Fault.ILLEGAL, 0)


@pytest.mark.parametrize("op", [Op.SET, Op.PULSE, Op.PHASE, Op.OFFSET, Op.SWITCH, Op.TAG, Op.ARM,
                                Op.SYN, Op.NOP])
def test_output_every_tick(op):
    program = [encode(op, dwell=1)] * 40 + [HALT]
    assert ticks(run(program)) == list(range(41))


def test_program_goes_on_at_address_0_after_the_last():
    program = [HALT, *[0] * (PROGRAM_DEPTH - 2), nop(3)]
    assert ticks(run(program, pc=PROGRAM_DEPTH - 1)) == [0, 3]


# -- loops -----------------------------------------------------------------------------------------


def test_loop_costs_nothing_at_its_end():
    assert SHORT_LOOP < 10
    program = [loop(10, 3, dwell=1), *[nop(k) for k in range(1, 11)], HALT]
    assert ticks(run(program)) == [0] + [1 + 55 * i + k for i in range(3)
                                         for k in (0, 1, 3, 6, 10, 15, 21, 28, 36, 45)] + [166]


def test_loop_of_a_single_word():
    assert ticks(run([loop(1, 4), nop(1), HALT])) == [0, B, B + 1, B + 2, B + 3, B + 4]


def test_loop_of_one_iteration():
    assert ticks(run([loop(1, 1), nop(1), HALT])) == [0, B, B + 1]


def test_loop_with_count_in_a_register():
    program = [encode(Op.LOOP, dwell=B, span=1, register=1, count=99) | 3 << 60, nop(2), HALT]
    assert ticks(run(program, presets=[0, 0, 0, 3])) == [0, B, B + 2, B + 4, B + 6]


def test_four_loops_that_end_at_the_same_word():
    program = [loop(4, 2), loop(3, 3), loop(2, 2), loop(1, 2), nop(1), HALT]
    model = run(program)
    addresses = path(model, program)
    assert [addresses.count(k) for k in range(6)] == [1, 2, 6, 12, 24, 1]
    # The innermost one goes on at once: a branch for every LOOP and 1 tick for every NOP.
    assert model.stopped == T + B * (1 + 2 + 6 + 12) + 24
    assert model.loops == []


def test_nested_loops_with_words_behind_the_inner_one():
    program = [loop(3, 2), loop(1, 2), nop(1), nop(2), HALT]
    assert path(run(program), program) == [0, 1, 2, 2, 3, 1, 2, 2, 3, 4]


def test_loop_levels_are_counted():
    assert run([loop(LOOP_LEVELS, 1)] * LOOP_LEVELS + [nop(), HALT]).fault is Fault.NONE
    model = run([loop(LOOP_LEVELS + 1, 1)] * (LOOP_LEVELS + 1) + [nop(), HALT])
    assert (model.fault, model.pc, model.stopped) == (Fault.LOOP_OVERFLOW, 4, T + 4 * B)
    assert len(model.commands) == 5 and len(model.loops) == 4


@pytest.mark.parametrize("word", [
    loop(1, 0), loop(0, 1), encode(Op.LOOP, dwell=B, span=1, register=1, count=5)])
def test_empty_loops_are_faults(word):
    model = run([word, nop(), HALT])
    assert (model.fault, len(model.commands)) == (Fault.LOOP_EMPTY, 1)


def test_branch_leaves_loops():
    # Two loops; the branch leaves both and their end does not go back any more.
    program = [loop(4, 5), loop(3, 5), nop(1), jump(Op.JMP, 6, pop=2), nop(2), HALT, nop(4),
               jump(Op.JMP, 4)]
    model = run(program)
    assert path(model, program) == [0, 1, 2, 3, 6, 7, 4, 5]
    assert model.loops == []


def test_branch_that_leaves_one_loop_stays_in_the_other():
    program = [loop(5, 2), loop(2, 9), nop(1), jump(Op.JMP, 4, pop=1), nop(2), nop(3), HALT]
    assert path(run(program), program) == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]


def test_branch_out_of_more_loops_than_there_are():
    model = run([loop(1, 2), jump(Op.JMP, 0, pop=2)])
    assert (model.fault, model.pc, len(model.commands)) == (Fault.LOOP_UNDERFLOW, 1, 2)
    taken = encode(Op.BR, dwell=B, condition=Condition.EQ, pop=1)
    assert run([taken, HALT]).fault is Fault.LOOP_UNDERFLOW
    not_taken = encode(Op.BR, dwell=B, condition=Condition.NE, pop=1)
    assert run([not_taken, HALT]).fault is Fault.NONE


def test_branch_that_is_not_taken_is_the_last_word_of_a_loop():
    program = [loop(1, 3), encode(Op.BR, dwell=B, condition=Condition.NE, target=0), HALT]
    assert ticks(run(program)) == [0, B, 2 * B, 3 * B, 4 * B]


def test_branch_to_the_last_word_of_a_loop_goes_back_after_it():
    program = [loop(3, 2), jump(Op.JMP, 3), nop(9), nop(2), HALT]
    assert path(run(program), program) == [0, 1, 3, 1, 3, 4]


# -- calls and branches ----------------------------------------------------------------------------


def test_call_and_return():
    program = [jump(Op.CALL, 3, dwell=17), nop(2), HALT, nop(4), jump(Op.RET, dwell=18)]
    assert ticks(run(program)) == [0, 17, 21, 39, 41]


def test_calls_are_counted():
    program = [jump(Op.CALL, k + 1) for k in range(CALL_LEVELS)] + [HALT]
    assert run(program).fault is Fault.NONE
    program = [jump(Op.CALL, k + 1) for k in range(CALL_LEVELS + 1)] + [HALT]
    model = run(program)
    assert (model.fault, model.pc, len(model.calls)) == (Fault.CALL_OVERFLOW, 8, 8)
    model = run([nop(3), jump(Op.RET)])
    assert (model.fault, model.pc, model.stopped) == (Fault.CALL_UNDERFLOW, 1, T + 3)


def test_loops_in_a_subroutine_of_a_loop():
    program = [loop(2, 2), jump(Op.CALL, 4), nop(1), HALT, loop(1, 2), nop(2), jump(Op.RET)]
    assert path(run(program), program) == [0, 1, 4, 5, 5, 6, 2, 1, 4, 5, 5, 6, 2, 3]


@pytest.mark.parametrize("condition, a, b, taken", [
    (Condition.EQ, 5, 5, True), (Condition.EQ, 5, 6, False),
    (Condition.NE, 5, 6, True), (Condition.NE, 5, 5, False),
    (Condition.LT, -1, 0, True), (Condition.LT, 0, -1, False), (Condition.LT, 3, 3, False),
    (Condition.LT, -(1 << 31), (1 << 31) - 1, True),
    (Condition.GE, -1, 0, False), (Condition.GE, 0, -1, True), (Condition.GE, 3, 3, True),
    (Condition.LTU, -1, 0, False), (Condition.LTU, 0, -1, True), (Condition.LTU, 3, 3, False),
    (Condition.GEU, -1, 0, True), (Condition.GEU, 0, -1, False), (Condition.GEU, 3, 3, True),
])
def test_branch_conditions(condition, a, b, taken):
    program = [encode(Op.BR, dwell=B, condition=condition, ra=1, rb=2, target=2, value=99), HALT,
               nop(), HALT]
    model = run(program, presets=[0, a & 0xFFFFFFFF, b & 0xFFFFFFFF])
    assert ticks(model) == ([0, B, B + 1] if taken else [0, B])


def test_branch_operand_is_sign_extended():
    for condition, value, taken in ((Condition.EQ, -2, True), (Condition.LTU, -1, True),
                                    (Condition.LT, -1, True), (Condition.GE, 32767, False)):
        program = [encode(Op.BR, dwell=B, condition=condition, ra=1, immediate=1, value=value,
                          target=2), HALT, nop(), HALT]
        assert len(run(program, presets=[0, 0xFFFFFFFE]).commands) == (3 if taken else 2)


# -- data ------------------------------------------------------------------------------------------


def test_constant_is_there_for_the_next_instruction():
    model = run([li(7, 0xDEADBEEF), show(7), HALT])
    assert model.commands[1] == (T + D, show(7), 0xDEADBEEF, 0)


@pytest.mark.parametrize("function, a, b, expected", [
    (AluFunction.ADD, 0xFFFFFFFF, 2, 1),
    (AluFunction.SUB, 1, 2, 0xFFFFFFFF),
    (AluFunction.AND, 0xFF00FF00, 0x0FF00FF0, 0x0F000F00),
    (AluFunction.OR, 0xFF00FF00, 0x0FF00FF0, 0xFFF0FFF0),
    (AluFunction.XOR, 0xFF00FF00, 0x0FF00FF0, 0xF0F0F0F0),
    (AluFunction.SHL, 0x80000001, 33, 2),
    (AluFunction.SHL, 1, 31, 0x80000000),
    (AluFunction.SHR, 0x80000001, 0xFFFFFFE1, 0x40000000),
    (AluFunction.SAR, 0x80000001, 1, 0xC0000000),
    (AluFunction.SAR, 0x80000001, 31, 0xFFFFFFFF),
    (AluFunction.MUL, 0xFFFFFFFF, 0xFFFFFFFF, 1),
    (AluFunction.MUL, 0x80000000, 2, 0),
])
def test_arithmetic(function, a, b, expected):
    word = encode(Op.ALU, dwell=M, function=function, ra=1, rb=2, rd=7, value=77)
    assert result([word], presets=[0, a, b]) == expected


@pytest.mark.parametrize("a, b, shift, expected", [
    (0x40000000, 0x40000000, 28, 0), (0x40000000, 0x40000000, 31, 0x20000000),
    (0xFFFFFFFF, 3, 1, 0xFFFFFFFE), (0x80000000, 0x80000000, 31, 0x80000000),
    (0x80000000, 0x7FFFFFFF, 31, 0x80000001),
])
def test_product_is_shifted_with_its_sign(a, b, shift, expected):
    word = encode(Op.ALU, dwell=M, function=AluFunction.MUL, shift=shift, ra=1, rb=2, rd=7)
    assert result([word], presets=[0, a, b]) == expected
    signed = [v - (1 << 32) if v >> 31 else v for v in (a, b)]
    assert expected == (signed[0] * signed[1] >> shift) & 0xFFFFFFFF


def test_immediate_operand_is_sign_extended():
    word = encode(Op.ALU, dwell=D, function=AluFunction.ADD, immediate=1, value=-3, ra=1, rb=2,
                  rd=7)
    assert result([word], presets=[0, 1, 100]) == 0xFFFFFFFE
    word = encode(Op.ALU, dwell=M, function=AluFunction.MUL, immediate=1, value=-3, ra=1, rd=7)
    assert result([word], presets=[0, 5]) == 0xFFFFFFF1


def test_register_may_be_source_and_target():
    word = encode(Op.ALU, dwell=D, function=AluFunction.ADD, ra=7, rb=7, rd=7)
    assert result([li(7, 3), word, word]) == 12


def test_get_of_the_tick_keeps_its_high_half():
    low, high = (encode(Op.GET, dwell=D, source=source, rd=rd)
                 for source, rd in ((Source.TICK_LOW, 1), (Source.TICK_HIGH, 2)))
    model = run([nop(2), low, nop(20), high, HALT], tick=(5 << 32) - 4)
    assert model.registers[1:3] == [0xFFFFFFFE, 4]


def test_get_of_the_inputs_is_of_the_tick_of_issue():
    world = World(triggers=[(T, 0x55), (T + 2, 0xAA)])
    get = encode(Op.GET, dwell=D, source=Source.INPUTS, rd=7)
    assert result([nop(1), get], world=world) == 0x55
    assert result([nop(2), get], world=world) == 0xAA


def test_difference_is_taken_four_ticks_after_issue():
    asked = []

    def delta(first, second, tick):
        asked.append((first, second, tick))
        return -5

    word = encode(Op.LDT, dwell=LDT_TICKS, first=0b10110, second=9, rd=7)
    model = run([nop(2), word, HALT], world=World(delta=delta), presets=range(16))
    assert asked == [(0b10110, 9, T + 6)]
    assert model.registers[7] == 0xFFFFFFFB
    assert ticks(model) == [0, 2, 2 + LDT_TICKS]
    assert model.commands[1][2] == 0b1011  # ra lies in the bits of `first`


# -- triggers --------------------------------------------------------------------------------------


def trigger(mode, mask, timeout=0, target=0):
    return encode(Op.WAITTRIG, mode=mode, mask=mask, timeout=timeout, target=target, rd=7)


def wait_for(mode, mask, changes, timeout=0):
    """Ticks from the issue (in T) to the next instruction, and what was waited."""
    program = [trigger(mode, mask, timeout, target=2), HALT, nop(1), HALT]
    model = run(program, world=World(triggers=[(T + t, level) for t, level in changes]))
    assert model.registers[7] == model.waited
    return model.commands[1][0] - T, model.waited, model.commands[1][1] == HALT


@pytest.mark.parametrize("mode, mask, changes, end", [
    (TriggerMode.RISE, 1, [(10, 1)], 10),
    (TriggerMode.RISE, 1, [(1, 1)], 1),
    (TriggerMode.RISE, 1, [(0, 1), (5, 0), (7, 1)], 7),
    (TriggerMode.RISE, 1, [(-5, 1), (5, 3), (6, 2), (8, 3)], 8),
    (TriggerMode.RISE, 6, [(5, 1), (6, 8), (7, 4)], 7),
    (TriggerMode.RISE, 3, [(0, 1), (5, 2)], 5),
    (TriggerMode.FALL, 1, [(-9, 1), (10, 0)], 10),
    (TriggerMode.FALL, 1, [(0, 1), (1, 0)], 1),
    (TriggerMode.FALL, 2, [(3, 3), (5, 2), (9, 1)], 9),
    (TriggerMode.HIGH, 1, [(-9, 1)], 1),
    (TriggerMode.HIGH, 1, [(-9, 1), (1, 0), (20, 1)], 20),
    (TriggerMode.HIGH, 6, [(3, 1), (8, 4)], 8),
    (TriggerMode.ALL, 6, [(3, 2), (8, 4), (9, 6)], 9),
    (TriggerMode.ALL, 0, [], 1),
])
def test_trigger_modes(mode, mask, changes, end):
    assert wait_for(mode, mask, changes) == (end + G, end, True)


def test_trigger_in_the_last_tick_counts_and_one_later_does_not():
    assert wait_for(TriggerMode.RISE, 1, [(10, 1)], timeout=10) == (10 + G, 10, True)
    assert wait_for(TriggerMode.RISE, 1, [(10, 1)], timeout=9) == (9 + L, 9, False)
    assert wait_for(TriggerMode.HIGH, 1, [(1, 1)], timeout=1) == (1 + G, 1, True)
    assert wait_for(TriggerMode.HIGH, 1, [(2, 1)], timeout=1) == (1 + L, 1, False)


def test_timeout_does_not_end_a_loop():
    program = [loop(1, 3), trigger(TriggerMode.RISE, 1, 4, target=3), HALT,
               encode(Op.TAG, dwell=1)]
    model = run(program, until=T + B + 4 + L + 1)
    assert path(model, program) == [0, 1, 3]
    assert model.loops == [[1, 1, 3]]


def test_wait_that_ends_is_the_last_word_of_a_loop():
    program = [loop(1, 3), trigger(TriggerMode.RISE, 1, 100), HALT]
    assert G == 2
    world = World(triggers=[(T + B + t, level) for t, level in
                            ((2, 1), (3, 0), (4, 1), (5, 0), (6, 1), (7, 0), (13, 1))])
    # Issued in 0: ends in 2. Issued in 4: the edge in 4 is past; ends in 6. Issued in 8.
    assert ticks(run(program, world=world)) == [0, B, B + 4, B + 8, B + 15]


def test_wait_for_ever_goes_on_waiting():
    model = run([trigger(TriggerMode.RISE, 1), HALT], until=T + 10**15)
    assert model.state is SequencerState.RUNNING and model.waiting
    assert (model.tick, model.pc, len(model.commands)) == (T, 0, 1)


# -- barriers --------------------------------------------------------------------------------------


def test_barrier_waits_until_all_peers_show_its_own_toggle():
    word = encode(Op.BARRIER, mask=0b101, rd=7)
    world = World(peers=[(T + 3, 0b100), (T + 5, 0b111), (T + 9, 0b001), (T + 12, 0)])
    model = run([word, show(7), word, show(7), HALT], world=world)
    # The first ends in 5; the second is issued in 8 and ends in 12.
    assert ticks(model) == [0, 5 + G, 6 + G, 12 + G, 13 + G]
    assert [command[2] for command in model.commands if command[1] == show(7)] == [5, 4]
    assert model.barrier == 0


def test_barrier_timeout_keeps_its_toggle():
    word = encode(Op.BARRIER, mask=1, timeout=3, target=2, rd=7)
    model = run([word, HALT, word, HALT])
    # The toggle back to 0 finds the peer at 0.
    assert ticks(model) == [0, 3 + L, 3 + L + 1 + G]
    assert (model.barrier, model.waited) == (0, 1)
    assert run([word, HALT, HALT]).barrier == 1


def test_barrier_without_peers_ends_at_once():
    assert ticks(run([encode(Op.BARRIER), HALT])) == [0, 1 + G]


def test_start_lowers_the_barrier():
    model = run([encode(Op.BARRIER), HALT])
    assert model.barrier == 1
    model.start(T + 50, World())
    assert model.barrier == 0


# -- verdicts --------------------------------------------------------------------------------------

ARM = encode(Op.ARM, dwell=1, windows=1)


def herald(target=100, stride=0, timeout=0):
    return encode(Op.BRH, target=target, mask=stride, timeout=timeout, rd=7)


def verdict_program(*words, target=100, stride=0):
    program = [*words, *[0] * (PROGRAM_DEPTH - len(words))]
    for entry in range(17):
        program[target + (entry << stride) & PROGRAM_DEPTH - 1] = encode(Op.HALT, code=entry)
    return program


@pytest.mark.parametrize("at, issued, index", [(1, 10, 5), (9, 10, 15), (10, 10, 0), (11, 10, 1)])
def test_verdict_that_came_before_ends_the_wait_at_once(at, issued, index):
    program = verdict_program(ARM, nop(issued - 1), herald())
    model = run(program, world=World(verdicts=[(T + at, index)]))
    assert ticks(model) == [0, 1, issued, issued + 1 + V]
    assert (model.halt_code, model.registers[7], model.waited) == (index, index, 1)


def test_verdict_that_comes_during_the_wait():
    program = verdict_program(ARM, herald(stride=3), stride=3)
    model = run(program, world=World(verdicts=[(T + 40, 9)]))
    assert ticks(model) == [0, 1, 40 + V]
    assert (model.pc, model.registers[7], model.waited) == (100 + 72, 9, 39)


def test_the_latest_verdict_counts():
    program = verdict_program(ARM, nop(9), herald())
    model = run(program, world=World(verdicts=[(T + 4, 3), (T + 11, 8), (T + 12, 1)]))
    assert model.halt_code == 8


def test_arm_forgets_the_verdict_up_to_its_own_tick():
    program = verdict_program(nop(5), ARM, herald(timeout=20))
    for at, code in ((4, 16), (5, 16), (6, 2), (26, 2), (27, 16)):
        model = run(program, world=World(verdicts=[(T + at, 2)]))
        assert model.halt_code == code, at
        if code == 16:
            assert (model.registers[7], model.waited) == (16, 20)
            assert model.stopped == T + 6 + 20 + L


def test_verdict_is_used_up():
    program = verdict_program(ARM, herald(target=2), herald(timeout=3))
    program[2] = herald(timeout=3)
    model = run(program, world=World(verdicts=[(T + 2, 0)]))
    # Issued in 1, ends in 2, again V later, times out 3 later.
    assert (ticks(model), model.halt_code) == ([0, 1, 2 + V, 2 + V + 3 + L], 16)


def test_table_wraps_around():
    program = verdict_program(ARM, herald(target=4004, stride=3), target=4004, stride=3)
    model = run(program, world=World(verdicts=[(T + 3, 15)]))
    assert model.pc == 4004 + 120 - 4096


def onward(target=100, timeout=5, pop=0):
    """A BRH that goes on with the next word after its timeout."""
    return encode(Op.BRH, mode=1, target=target, mask=pop << 3, timeout=timeout, rd=7)


def test_attempts_follow_each_other_after_the_last_chance():
    program = verdict_program(loop(2, 3), ARM, onward(), HALT)
    model = run(program)
    turn = 1 + 5 + G
    assert ticks(model) == [0, *[B + k * turn + at for k in range(3) for at in (0, 1)],
                            B + 3 * turn]
    assert (model.registers[7], model.waited, model.loops) == (16, 5, [])


@pytest.mark.parametrize("at, attempt", [(B + 6, 0), (B + 7, None), (B + 8, None), (B + 9, 1),
                                         (B + 14, 1)])
def test_a_verdict_up_to_the_last_chance_leaves_the_loop(at, attempt):
    """Between the last tick of one attempt and the ARM of the next, verdicts are forgotten."""
    program = verdict_program(loop(2, 2), ARM, onward(pop=1), encode(Op.HALT, code=99))
    model = run(program, world=World(verdicts=[(T + at, 9)]))
    assert model.halt_code == (99 if attempt is None else 9)
    if attempt is not None:
        # The second BRH looks from B + 10 on.
        assert model.stopped == T + (max(at, B + 10) if attempt else at) + V
        assert (model.registers[7], model.loops) == (9, [])


def test_a_verdict_stays_in_the_loops_that_are_not_left():
    program = verdict_program(loop(4, 2), loop(2, 3), ARM, onward(pop=1), nop(), HALT)
    program[109] = encode(Op.JMP, dwell=B, target=4)
    model = run(program, world=World(verdicts=[(T + 2 * B + 4, 9)]))
    # The rest of the outer body, then a whole turn of it, in which no attempt succeeds.
    assert [command[1] == program[4] for command in model.commands].count(True) == 2
    assert model.halt_code == 0x1234 and model.loops == []


@pytest.mark.parametrize("mode, at", [(0, 40), (0, 3), (1, 3)])
def test_a_table_out_of_more_loops_than_there_are_is_a_fault(mode, at):
    program = verdict_program(ARM, onward(pop=1) & ~(1 << 6) | mode << 6)
    model = run(program, world=World(verdicts=[(T + at, 9)]))
    assert (model.fault, model.pc, model.stopped) == (Fault.LOOP_UNDERFLOW, 1, T + 1)
    assert model.wait_ended == T + (at if at < 6 else 6)


@pytest.mark.parametrize("source", [Source.CLICKED, Source.SITES, Source.HERALD_FRAME,
                                    Source.ATTEMPT])
def test_get_of_the_herald_is_of_the_tick_of_issue(source):
    get = encode(Op.GET, dwell=D, source=source, rd=7)
    world = World(herald=lambda asked, tick: 1000 * asked.value + tick - T)
    assert result([nop(5), get], world=world) == 1000 * source.value + 5


def test_start_forgets_the_verdict():
    program = verdict_program(herald(timeout=2))
    model = run(program, world=World(verdicts=[(T - 1, 2)]))
    assert model.halt_code == 16
    get = encode(Op.GET, dwell=D, source=Source.VERDICT, rd=7)
    assert result([get], world=World(verdicts=[(T - 1, 2)])) == 2
    model = SequencerModel(program)
    model.start(T, World(verdicts=[(T - 1, 2)]), since=T - 1)
    model.advance(FOREVER)
    assert model.halt_code == 2


def test_get_of_the_verdict():
    get = encode(Op.GET, dwell=D, source=Source.VERDICT, rd=7)
    world = World(verdicts=[(T + 3, 6)])
    assert result([nop(2), get], world=world) == 0
    assert result([nop(3), get], world=world) == 0x16
    assert result([nop(3), ARM, get], world=world) == 6
    # BRH uses a verdict up, but it has been all the same.
    program = verdict_program(herald(timeout=9), target=100)
    program[106] = encode(Op.JMP, dwell=B, target=1)
    program[1:3] = get, HALT
    assert run(program, world=world).registers[7] == 0x16


# -- frames ----------------------------------------------------------------------------------------


def frame(basis, last=False, timeout=0, target=0):
    return encode(Op.DEC, mask=basis | last << 1, timeout=timeout, target=target, rd=7)


@pytest.mark.parametrize("basis", [0, 1])
def test_frame_of_a_basis(basis):
    frames = [[(T + 8, 0xA5, 0), (T + 9, 1, 0)], [(T + 12, 0x3C, 0)]]
    model = run([nop(2), frame(basis), HALT], world=World(frames=frames))
    end = (8, 12)[basis]
    assert ticks(model) == [0, 2, end + G]
    assert (model.registers[7], model.waited) == ((0xA5, 0x3C)[basis], end - 2)


def test_last_frame_and_the_frames_after_it():
    frames = [[(T + 3, 1, 0), (T + 5, 2, 1), (T + 7, 3, 0)], []]
    # The last window's strobe is before the wait, and a later one has the newer frame.
    model = run([nop(10), frame(0, last=True), HALT], world=World(frames=frames))
    assert (ticks(model), model.registers[7]) == ([0, 10, 11 + G], 3)
    model = run([frame(0, last=True), HALT], world=World(frames=frames))
    assert (ticks(model), model.registers[7]) == ([0, 5 + G], 2)


def test_frame_is_used_up_with_its_last():
    frames = [[(T + 3, 1, 1)], [(T + 3, 5, 1)]]
    program = [nop(10), frame(0), frame(0, last=True, timeout=4, target=3), frame(1), HALT]
    model = run(program, world=World(frames=frames))
    assert ticks(model) == [0, 10, 11 + G, 15 + G + L, 16 + 2 * G + L]
    assert (model.registers[7], model.waited) == (5, 1)


def test_frame_timeout():
    model = run([frame(0, timeout=4, target=2), 0, HALT], presets=[9] * 16,
                world=World(frames=[[(T + 5, 3, 0)], [(T + 2, 3, 0)]]))
    assert (ticks(model), model.registers[7], model.waited) == ([0, 4 + L], 0, 4)


def test_first_syndrome_forgets_frames_up_to_its_own_tick():
    first = encode(Op.SYN, dwell=1, first=1, push=1)
    other = encode(Op.SYN, dwell=1, push=1)
    program = [nop(5), first, other, frame(0, timeout=20, target=4), HALT]
    for at, obs in ((4, 0), (5, 0), (6, 7), (7, 7)):
        model = run(program, world=World(frames=[[(T + at, 7, 0)], []]))
        assert model.registers[7] == obs, at


def test_get_of_the_frames():
    get = encode(Op.GET, dwell=D, source=Source.FRAME, rd=7)
    frames = [[(T + 2, 0x12, 0), (T + 6, 0x99, 0)], [(T + 5, 0x34, 1)]]
    assert result([nop(5), get], world=World(frames=frames)) == 0x3412


# -- running ---------------------------------------------------------------------------------------


def test_advance_stops_before_a_tick_and_goes_on():
    program = [nop(5), nop(7), nop(9), HALT]
    model = run(program, until=T + 12)
    assert (ticks(model), model.state, model.tick) == ([0, 5], SequencerState.RUNNING, T + 12)
    model.advance(T + 13)
    assert ticks(model) == [0, 5, 12]
    model.advance(FOREVER)
    assert model.state is SequencerState.HALTED and ticks(model) == [0, 5, 12, 21]


def test_advance_tick_by_tick_changes_nothing():
    program = [loop(4, 3), encode(Op.BARRIER, mask=1, rd=1), trigger(TriggerMode.RISE, 1, 10, 4),
               nop(2), show(1, 7), HALT]
    events = {"triggers": [(T + 4 * k, k & 1) for k in range(100)],
              "peers": [(T + 7 * k, k & 1) for k in range(100)]}
    whole = run(program, world=World(**events))
    parts = SequencerModel(program)
    parts.start(T, World(**events))
    tick = T
    while parts.state is SequencerState.RUNNING:
        tick += 1
        parts.advance(tick)
    assert parts.commands == whole.commands and parts.registers == whole.registers
    assert tick == whole.stopped + 1


def test_registers_outlive_a_start():
    model = run([li(3, 77), HALT])
    model.start(T + 100, World())
    model.advance(FOREVER)
    assert model.commands[0][0] == T + 100
    assert model.registers[3] == 77


def test_programs_share_a_memory():
    model = SequencerModel([nop(1), HALT, nop(2), HALT])
    for pc, length in ((2, 2), (0, 1)):
        model.start(T, World(), pc=pc)
        model.advance(FOREVER)
        assert model.stopped - T == length


def test_model_skips_idle_ticks():
    add = encode(Op.ALU, dwell=D, function=AluFunction.ADD, immediate=1, value=1, ra=1, rd=1)
    program = [loop(5, 40_000), nop((1 << 40) + 1), encode(Op.PULSE, dwell=1), add,
               encode(Op.SET, dwell=1), nop(1), HALT]
    model = SequencerModel(program)
    model.start(0, World())
    # Tick by tick this would never end.
    model.advance(FOREVER)
    assert model.registers[1] == 40_000
    assert model.stopped > 40_000 << 40
