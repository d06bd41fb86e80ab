"""TTL lines, marks and slots, each driven at random and directed, against golden models."""

import os
import random
import zlib

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from quantacore.gateware.layouts.instructions import Op, SetWord, SwitchWord, TagWord
from quantacore.gateware.layouts.sequencer import (
    DAC_LATENCY,
    TTL_LATENCY,
    LoadTarget,
    SequencerLoadAddress,
    SlotCommand,
    SlotState,
    SlotStatus,
)
from quantacore.gateware.sequencer.command import Command
from quantacore.gateware.sequencer.slots import ProgramLoad
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.golden.sequencer_parts import OutputsModel, SlotsModel, check_marks, marks_of

DEPTH = int(os.environ["QC_MARK_DEPTH"])
CHANNELS = int(os.environ["QC_CHANNELS"])
INPUTS = {
    "outputs": ("commands__valid", "commands__payload", "rest", "emergency", "safe", "hold", "fast",
                "route_safe", "write", "write_value", "write_mask", "route_write", "route_value"),
    "marks": ("commands__valid", "commands__payload", "tick", "records__ready", "clear"),
    "slots": ("address_valid", "address", "word_valid", "word", "command_valid", "command",
              "words", "crc", "trial_ticks", "running", "failed"),
}


async def begin(dut, part):
    """Reset, and random numbers."""
    cocotb.log.info("seed %#x", seed_from_environment())
    cocotb.start_soon(Clock(dut.clk, 8, unit="ns").start())
    for each, names in INPUTS.items():
        for name in names:
            getattr(dut, f"{each}__{name}").value = 0
    await reset(dut)
    return Port(dut, part), random.Random(random.getrandbits(64))


async def reset(dut):
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)


class Port:
    """Ports of one part."""

    def __init__(self, dut, part):
        self._dut, self._part = dut, part

    def set(self, **values):
        for name, value in values.items():
            getattr(self._dut, f"{self._part}__{name}").value = value

    def get(self, name):
        return int(getattr(self._dut, f"{self._part}__{name}").value)

    async def tick(self):
        """To the middle of the next tick; inputs set now are taken at its beginning."""
        await FallingEdge(self._dut.clk)


def command(word, a=0):
    return Command.const({"word": word, "a": a, "b": 0}).as_bits()


def random_output_word(rng):
    if rng.random() < 0.7:
        return SetWord.const({"op": Op.SET, "mask": rng.getrandbits(16),
                              "value": rng.getrandbits(16), "dwell": 1}).as_bits()
    if rng.random() < 0.7:
        return SwitchWord.const({"op": Op.SWITCH, "route": rng.getrandbits(8),
                                 "register": rng.getrandbits(1)}).as_bits()
    return Op.NOP.value | rng.getrandbits(58) << 6


@cocotb.test()
async def outputs_at_random(dut):
    port, rng = await begin(dut, "outputs")
    model = OutputsModel()
    settings = dict.fromkeys(("safe", "hold", "fast", "route_safe"), 0)
    emergency = False
    for now in range(6000):
        if now % 300 == 0:
            settings = {"safe": rng.getrandbits(16), "hold": rng.getrandbits(16),
                        "fast": rng.getrandbits(16), "route_safe": rng.getrandbits(8)}
            port.set(**settings)
        # An emergency is short, or lasts until everything has come through.
        emergency = rng.random() < (0.9 if emergency else 0.01)
        word = (random_output_word(rng), rng.getrandbits(32)) if rng.random() < 0.4 else None
        write = (rng.getrandbits(16), rng.getrandbits(16)) if rng.random() < 0.05 else None
        route = rng.getrandbits(8) if rng.random() < 0.05 else None
        rest = rng.random() < 0.03
        port.set(commands__valid=word is not None, commands__payload=command(*(word or (0, 0))),
                 rest=rest, emergency=emergency, write=write is not None,
                 write_value=(write or (0, 0))[0], write_mask=(write or (0, 0))[1],
                 route_write=route is not None, route_value=route or 0)
        await RisingEdge(dut.clk)
        shown = port.get("ttl"), port.get("route")
        expected = model.tick(command=word, rest=rest, emergency=emergency, write=write,
                              route_write=route, **settings)
        assert shown == expected, f"tick {now}: {shown} is not {expected}"
        await port.tick()


@cocotb.test()
async def a_fast_line_comes_first_and_the_others_with_the_pulses(dut):
    port, _ = await begin(dut, "outputs")
    port.set(fast=1, commands__valid=1, commands__payload=command(SetWord.const(
        {"op": Op.SET, "mask": 3, "value": 3, "dwell": 1}).as_bits()))
    # The command bus is a tick behind the instruction.
    seen = {}
    for after in range(1, DAC_LATENCY + 2):
        seen[after] = port.get("ttl")
        await port.tick()
        port.set(commands__valid=0)
    assert [after for after in seen if seen[after] & 1][0] == TTL_LATENCY
    assert [after for after in seen if seen[after] & 2][0] == DAC_LATENCY


async def _marks(dut, ready_rate, tag_rate, number):
    port, rng = await begin(dut, "marks")
    issued, records = [], []
    now = rng.getrandbits(45)
    for left in reversed(range(number + 20 * DEPTH)):
        word, a = TagWord.const({"op": Op.TAG, "code": rng.getrandbits(16), "dwell": 1,
                                 "register": rng.getrandbits(1)}).as_bits(), rng.getrandbits(32)
        if rng.random() < 0.1:
            word ^= 1  # another operation
        valid = left > 20 * DEPTH and rng.random() < tag_rate
        ready = left <= 20 * DEPTH or rng.random() < ready_rate
        port.set(tick=now, commands__valid=valid, commands__payload=command(word, a),
                 records__ready=ready)
        if valid:
            issued.append((now - 1, word, a))
        await RisingEdge(dut.clk)
        if ready and port.get("records__valid"):
            records.append(port.get("records__payload"))
        await port.tick()
        now += 1
    asked = marks_of(issued)
    lost = port.get("lost")
    assert port.get("asked") == len(asked)
    check_marks(asked, records, lost)
    return lost


@cocotb.test()
async def marks_that_are_taken_at_once(dut):
    assert await _marks(dut, 1.0, 0.5, 1500) == 0


@cocotb.test()
async def marks_that_wait(dut):
    await _marks(dut, 0.5, 0.3, 2000)


@cocotb.test()
async def marks_that_are_lost_are_counted_in_band(dut):
    assert await _marks(dut, 0.1, 0.5, 3000) > 100


@cocotb.test()
async def more_marks_are_lost_than_a_record_can_say(dut):
    assert await _marks(dut, 0.01, 1.0, 1500) > 1000


class SlotsBench:
    """Writes to the slots, and to their model."""

    def __init__(self, dut, port, rng):
        self.dut, self.port, self.rng = dut, port, rng
        self.restart()

    def restart(self):
        self.model = SlotsModel(channels=CHANNELS)
        self.now = 0
        self.raised = dict.fromkeys(self.model.raised, 0)
        self.memory = {}

    async def clocks(self, number):
        for _ in range(number):
            await RisingEdge(self.dut.clk)
            for name in self.raised:
                self.raised[name] += self.port.get(name)
            if self.port.get("program__valid"):
                load = ProgramLoad.from_bits(self.port.get("program__payload"))
                self.memory[LoadTarget.PROGRAM, load.slot, 0, load.index] = load.word
            for target, name, bits in ((LoadTarget.WAVES, "waves", 9),
                                       (LoadTarget.ENVELOPE, "points", 9)):
                if self.port.get(f"{name}__valid"):
                    payload = self.port.get(f"{name}__payload")
                    width = 64 if target is LoadTarget.WAVES else 32
                    rest = payload >> width
                    self.memory[target, rest >> bits & 1, rest >> bits + 1,
                                rest & (1 << bits) - 1] = payload & (1 << width) - 1
            model = self.model
            if model.trial and model.deadline is not None and self.now > model.deadline + 2:
                model.fail()
            self.now += 1
            await self.port.tick()

    async def write(self, kind, value, gap=5):
        self.port.set(**{f"{kind}_valid": 1, kind: value})
        await self.clocks(1)
        self.port.set(**{f"{kind}_valid": 0})
        await self.clocks(gap)

    async def address(self, **fields):
        bits = SequencerLoadAddress.const(fields).as_bits()
        self.model.address(bits)
        await self.write("address", bits)

    async def word(self, word):
        self.model.word(word)
        await self.write("word", word, gap=self.rng.choice([0, 0, 5]))

    async def command(self, *, words=0, crc=0, trial_ticks=0, **fields):
        bits = SlotCommand.const(fields).as_bits()
        self.port.set(words=words, crc=crc, trial_ticks=trial_ticks)
        await self.clocks(2)
        self.model.command(bits, now=self.now, words=words, crc=crc, trial_ticks=trial_ticks)
        await self.write("command", bits)

    async def fail(self):
        self.model.fail()
        self.port.set(failed=1)
        await self.clocks(1)
        self.port.set(failed=0)
        await self.clocks(4)

    async def running(self, running):
        self.model.running = running
        self.port.set(running=running)
        await self.clocks(1)

    async def compare(self):
        # Flags come a clock after what raises them.
        await self.clocks(2)
        model, port = self.model, self.port
        status = SlotStatus.from_bits(port.get("status"))
        shown = [SlotState(status.state[i]) for i in range(2)]
        assert (shown, status.active, bool(status.trial)) == (
            model.state, model.active, model.trial)
        assert port.get("loaded") == model.loaded
        assert [port.get(f"images__{i}") for i in range(2)] == model.images
        assert port.get("ready") == (model.state[model.active] is SlotState.VALID)
        assert self.raised == model.raised
        assert self.memory == model.memory

    async def image(self, slot, words, *, right=True):
        """A whole image."""
        await self.command(begin=1, slot=slot)
        await self.address(target=LoadTarget.PROGRAM, slot=slot)
        for word in words:
            await self.word(word)
        crc = zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))
        await self.command(commit=1, slot=slot, words=len(words), crc=crc ^ (not right))
        await self.compare()


@cocotb.test()
async def slots_at_random(dut):
    port, rng = await begin(dut, "slots")
    bench = SlotsBench(dut, port, rng)
    model = bench.model
    for _ in range(900):
        what = rng.random()
        slot = rng.getrandbits(1)
        if what < 0.15:
            await bench.address(
                slot=slot, target=LoadTarget(rng.randrange(3)), channel=rng.randrange(5),
                address=rng.choice([0, 5, 510, 511, 512, 4094, 4095, 4096, 65535]))
        elif what < 0.6:
            await bench.word(rng.getrandbits(32))
        elif what < 0.67:
            await bench.command(begin=1, slot=slot)
        elif what < 0.8:
            # Most often right.
            await bench.command(commit=1, slot=slot, words=model.loaded - (rng.random() < 0.1),
                                crc=model._crc ^ (rng.random() < 0.1))
        elif what < 0.9:
            # A trial's time has a test of its own.
            await bench.command(activate=1, slot=slot, trial=rng.getrandbits(1))
        elif what < 0.93:
            await bench.command(confirm=1)
        elif what < 0.97:
            await bench.fail()
        else:
            await bench.running(rng.getrandbits(1))
        await bench.compare()


@cocotb.test()
async def only_the_right_image_becomes_valid(dut):
    port, rng = await begin(dut, "slots")
    bench = SlotsBench(dut, port, rng)
    await bench.image(1, [rng.getrandbits(32) for _ in range(6)], right=False)
    assert bench.model.state[1] is SlotState.REFUSED
    await bench.command(activate=1, slot=1)
    await bench.compare()
    await bench.image(1, [rng.getrandbits(32) for _ in range(6)])
    assert bench.model.state[1] is SlotState.VALID
    # Half an instruction is no image, whatever its CRC.
    await bench.image(0, [rng.getrandbits(32) for _ in range(5)])
    assert bench.model.state[0] is SlotState.REFUSED


@cocotb.test()
async def power_lost_in_the_middle_leaves_nothing_to_run(dut):
    port, rng = await begin(dut, "slots")
    bench = SlotsBench(dut, port, rng)
    for words in range(5):
        await bench.image(0, [1, 2, 3, 4])
        await bench.command(activate=1, slot=0)
        await bench.command(begin=1, slot=1)
        await bench.address(target=LoadTarget.PROGRAM, slot=1)
        for _ in range(words):
            await bench.word(rng.getrandbits(32))
        await reset(dut)
        bench.restart()
        await bench.compare()
        assert bench.model.state == [SlotState.EMPTY] * 2
        # What is left of the words is not taken for an image.
        await bench.command(commit=1, slot=1, words=words, crc=0)
        await bench.compare()


@cocotb.test()
async def the_slot_that_runs_is_not_written(dut):
    port, rng = await begin(dut, "slots")
    bench = SlotsBench(dut, port, rng)
    await bench.image(0, [1, 2])
    await bench.command(activate=1, slot=0)
    await bench.running(True)
    await bench.command(begin=1, slot=0)
    await bench.address(target=LoadTarget.PROGRAM, slot=0)
    await bench.word(5)
    await bench.compare()
    assert bench.model.raised["load_refused"] == 2
    await bench.image(1, [3, 4])


@cocotb.test()
async def a_trial_that_fails_goes_back(dut):
    port, rng = await begin(dut, "slots")
    bench = SlotsBench(dut, port, rng)
    await bench.image(0, [1, 2])
    await bench.image(1, [3, 4])
    await bench.command(activate=1, slot=0)
    await bench.command(activate=1, slot=1, trial=1)
    await bench.running(True)
    await bench.compare()
    await bench.fail()
    await bench.compare()
    assert (bench.model.active, bench.model.state[1]) == (0, SlotState.REJECTED)
    await bench.running(False)
    # Once more, and this time nobody confirms it.
    await bench.image(1, [3, 4])
    await bench.command(activate=1, slot=1, trial=1, trial_ticks=50)
    await bench.clocks(100)
    await bench.compare()
    assert bench.model.active == 0
    # And at last it is good.
    await bench.image(1, [3, 4])
    await bench.command(activate=1, slot=1, trial=1, trial_ticks=50)
    await bench.command(confirm=1, trial_ticks=50)
    await bench.clocks(100)
    await bench.fail()
    await bench.compare()
    assert (bench.model.active, bench.model.trial) == (1, False)
