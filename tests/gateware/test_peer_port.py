"""Messages between nodes: on the lines and back, and what damage does to them."""

import itertools
import random

import pytest
from amaranth import *
from amaranth.sim import Simulator

from quantacore.gateware.herald.peer_port import PeerLines, PeerPort
from quantacore.gateware.layouts.peer import (
    CHECK_BITS,
    CHECK_INITIAL,
    CHECK_POLYNOMIAL,
    MESSAGE_BITS,
    PEER_LANES,
    message_ticks,
    message_words,
)
from quantacore.sim.bench.cosim import seed_from_environment

_BITS = MESSAGE_BITS + CHECK_BITS


def _check(bits, start):
    """Remainder of a polynomial division, first bit first; as a number whose bit 0 is the highest
    power."""
    register = start
    for bit in bits:
        register = register << 1 ^ bit << CHECK_BITS
        if register >> CHECK_BITS:
            register ^= 1 << CHECK_BITS | CHECK_POLYNOMIAL
        register &= (1 << CHECK_BITS) - 1
    return int(f"{register:0{CHECK_BITS}b}"[::-1], 2)


def _on_the_line(message):
    """The bits of a message with its check, in the order in which they are sent."""
    bits = [message >> i & 1 for i in range(MESSAGE_BITS)]
    check = _check(bits, CHECK_INITIAL)
    return bits + [check >> i & 1 for i in range(CHECK_BITS)]


def _exchange(lanes, words, ticks):
    """Give words ``{tick: (data, valid)}`` to a port; ``(tick, message)`` received, and errors."""
    port = PeerPort(lanes=lanes)
    received, bad = [], 0

    async def bench(ctx):
        nonlocal bad
        for tick in range(ticks):
            data, valid = words.get(tick, (0, 0))
            ctx.set(port.lines.data_i, data)
            ctx.set(port.lines.valid_i, valid)
            if ctx.get(port.o.valid):
                received.append((tick, ctx.get(port.o.payload.as_value())))
            bad += ctx.get(port.bad)
            await ctx.tick()

    simulator = Simulator(port)
    simulator.add_clock(8e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return received, bad


def _words(bits, lanes, at):
    return {at + i: (sum(bit << j for j, bit in enumerate(bits[i * lanes:(i + 1) * lanes])), 1)
            for i in range(len(bits) // lanes)}


@pytest.mark.parametrize("lanes", PEER_LANES)
def test_messages_come_as_they_were_sent(lanes):
    rng = random.Random(seed_from_environment())
    messages = [rng.getrandbits(MESSAGE_BITS) for _ in range(5)] + [0, (1 << MESSAGE_BITS) - 1]
    port = PeerPort(lanes=lanes)
    m = Module()
    m.submodules.port = port
    lines = port.lines
    m.d.comb += [lines.data_i.eq(lines.data_o), lines.valid_i.eq(lines.valid_o)]
    sent, received, line = [], [], []

    async def bench(ctx):
        for tick in range(len(messages) * (message_words(lanes) + 1) + 20):
            idle = ctx.get(port.idle)
            ctx.set(port.send, idle and len(sent) < len(messages))
            if idle and len(sent) < len(messages):
                ctx.set(port.message.as_value(), messages[len(sent)])
                sent.append(tick)
            if ctx.get(port.o.valid):
                received.append((tick, ctx.get(port.o.payload.as_value())))
            if ctx.get(lines.valid_o):
                line.append(ctx.get(lines.data_o))
            assert not ctx.get(port.bad)
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(8e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert received == [(tick + message_ticks(lanes), message)
                        for tick, message in zip(sent, messages, strict=True)]
    assert [later - first for first, later in itertools.pairwise(sent)] == (
        [message_words(lanes) + 1] * (len(messages) - 1))
    bits = [word >> j & 1 for word in line for j in range(lanes)]
    assert bits == sum(map(_on_the_line, messages), [])


def test_the_check_finds_three_bits_and_eight_in_a_row():
    ones = [_check([i == j for i in range(_BITS)], 0) for j in range(_BITS)]
    assert all(ones)
    assert len(set(ones)) == _BITS
    known = set(ones)
    for a, b in itertools.combinations(ones, 2):
        assert a ^ b not in known  # three bits never cancel
    for first in range(_BITS - 7):
        sums = {0}
        for one in ones[first:first + 8]:
            sums |= {each ^ one for each in sums}
        assert len(sums) == 256  # eight bits in a row: all different, so none but nothing is 0


def test_a_damaged_message_does_not_come():
    rng = random.Random(seed_from_environment())
    lanes, words, at = 8, {}, 5
    for _ in range(40):
        bits = _on_the_line(rng.getrandbits(MESSAGE_BITS))
        first = rng.randrange(_BITS - 7)
        for i in rng.choice([rng.sample(range(_BITS), rng.randrange(1, 4)),
                             [first, *(i for i in range(first + 1, first + 8)
                                       if rng.getrandbits(1))]]):
            bits[i] ^= 1
        words |= _words(bits, lanes, at)
        at += message_words(lanes) + 1
    assert _exchange(lanes, words, at + 10) == ([], 40)


def test_too_short_and_too_long():
    lanes, message = 4, 0x1234567890AB
    bits = _on_the_line(message)
    short = _words(bits[:-lanes], lanes, 3)
    whole = _words(bits, lanes, 40)
    long_ = _words(bits + bits[:2 * lanes], lanes, 80)
    received, bad = _exchange(lanes, short | whole | long_, 130)
    assert [message_ for _, message_ in received] == [message, message]
    assert bad == 2


def test_a_port_has_1_4_or_8_lanes():
    with pytest.raises(ValueError, match="^Lanes of a peer's port must be 1, 4 or 8, not 2$"):
        PeerPort(lanes=2)
    assert PeerLines(4) == PeerLines(4) != PeerLines(8)
