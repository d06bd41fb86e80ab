"""The pulse channels as Verilog, sample for sample against their golden model."""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from quantacore.gateware.layouts.instructions import COMMAND_LATENCY, FREQ_TICKS
from quantacore.gateware.layouts.sequencer import CHANNELS, DAC_LATENCY, ENVELOPE_POINTS, WAVES
from quantacore.gateware.sequencer.channels import PointsLoad, WaveLoad
from quantacore.gateware.sequencer.command import Command
from quantacore.sim.bench.channels import freq, offset, phase, pulse, unpack, wave_bits
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.golden.channels import Image, Issued, play

NUMBER = int(os.environ["QC_CHANNELS"])
#: What was loaded: the memories keep it from test to test.
LOADED = []
#: From sample n to the tick in which ``begun`` and ``overlap`` say what happened.
EVENT_LATENCY = 5


def random_wave(rng):
    """Short and long ones, slow and fast ones, all the way round the points."""
    length = rng.choice([rng.randrange(1, 6), rng.randrange(1, 60), rng.randrange(1, 400), 0])
    step = rng.choice([0, rng.getrandbits(20), rng.getrandbits(25), rng.getrandbits(30),
                       1 << 24, (1 << 30) - 1])
    return wave_bits(step, rng.getrandbits(10), length)


def random_image(rng):
    generator = np.random.default_rng(rng.getrandbits(64))
    envelopes = generator.integers(-32768, 32768, (CHANNELS, ENVELOPE_POINTS)).astype(np.int16)
    # Extremes side by side.
    envelopes[:, :8] = [32767, -32768, -32768, 32767, 32767, -32768, 0, -32768]
    waves = np.array([random_wave(rng) for _ in range(WAVES)], np.uint64)
    return Image(waves=waves, envelopes=envelopes)


class Bench:
    """Issues commands at their ticks and keeps what comes out."""

    def __init__(self, dut, seed):
        self.dut = dut
        self.rng = random.Random(seed)
        self.safe = [0] * CHANNELS

    async def begin(self):
        cocotb.start_soon(Clock(self.dut.clk, 8, unit="ns").start())
        for name in ("tick_set", "tick", "command_valid", "command", "silence", "offset_safe",
                     "slot", "wave_valid", "wave", "points_valid", "points"):
            getattr(self.dut, name).value = 0
        await self.reset()
        if not LOADED:
            LOADED.extend(random_image(self.rng) for _ in range(2))
            for slot, image in enumerate(LOADED):
                await self.load(image, slot)
        self.images = tuple(LOADED)

    async def reset(self):
        self.dut.rst.value = 1
        for _ in range(8):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def load_wave(self, slot, index, bits):
        LOADED[slot].waves[index] = bits
        self.dut.wave.value = WaveLoad.const({"slot": slot, "index": index}).as_bits() | bits
        self.dut.wave_valid.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.wave_valid.value = 0

    async def load_points(self, slot, channel, points):
        LOADED[slot].envelopes[channel] = points
        self.dut.points_valid.value = 1
        for pair in range(ENVELOPE_POINTS // 2):
            self.dut.points.value = PointsLoad.const({
                "slot": slot, "channel": channel, "pair": pair,
                "even": int(points[2 * pair]), "odd": int(points[2 * pair + 1])}).as_bits()
            await FallingEdge(self.dut.clk)
        self.dut.points_valid.value = 0

    async def load(self, image, slot):
        for index, bits in enumerate(image.waves.tolist()):
            await self.load_wave(slot, index, bits)
        for channel in range(NUMBER):
            await self.load_points(slot, channel, image.envelopes[channel])

    async def set_safe(self, values):
        self.safe = [*values] + [0] * (CHANNELS - len(values))
        self.dut.offset_safe.value = sum((value & 0xFFFF) << 16 * k
                                         for k, value in enumerate(self.safe[:NUMBER]))

    async def run(self, commands, start, stop, *, silences=(), slots=((0, 0),), actions=None):
        """Play samples ``start`` to ``stop - 1`` from a reset on and compare them.

        ``actions``: tick -> coroutine function to start in it.
        """
        dut = self.dut
        await self.reset()
        at = {}
        for command in commands:
            assert command.tick + COMMAND_LATENCY not in at, "one command a tick"
            at[command.tick + COMMAND_LATENCY] = [
                (dut.command_valid, 1),
                (dut.command, Command.const({"word": command.word, "a": command.a,
                                             "b": command.b}).as_bits())]
        for tick in [*at]:
            at.setdefault(tick + 1, [(dut.command_valid, 0)])
        for tick, mask in silences:
            at.setdefault(tick, []).append((dut.silence, mask))
        dut.slot.value = slots[0][1]
        for tick, slot in slots[1:]:
            at.setdefault(tick, []).append((dut.slot, slot))
        dut.tick.value, dut.tick_set.value = start, 1
        await FallingEdge(dut.clk)
        dut.tick_set.value = 0
        records = []
        # Here the counter reads `start`.
        for tick in range(start, stop + DAC_LATENCY):
            for signal, value in at.get(tick, ()):
                signal.value = value
            if actions and tick in actions:
                cocotb.start_soon(actions[tick]())
            records.append(int(dut.record.value))
            await FallingEdge(dut.clk)
        dut.silence.value = 0
        dut.command_valid.value = 0
        samples, (active, begun, overlap) = unpack(records, NUMBER)
        golden = play(commands, tuple(LOADED), start=start, stop=stop, channels=NUMBER,
                      slots=slots, silences=silences, offset_safe=self.safe)
        got = samples[:, DAC_LATENCY:]
        wrong = np.argwhere(got != golden.samples)
        if len(wrong):
            channel, n = wrong[0]
            raise AssertionError(
                f"channel {channel}, sample {start + n}: {got[channel, n]} for "
                f"{golden.samples[channel, n]}, {len(wrong)} wrong in all")
        assert (active[:NUMBER, DAC_LATENCY:] == golden.active).all()

        def events(flags):
            channel, tick = np.nonzero(flags[:, EVENT_LATENCY:EVENT_LATENCY + stop - start])
            return sorted((n + start, k) for n, k in zip(tick.tolist(), channel.tolist(),
                                                         strict=True))

        assert events(begun) == golden.begun
        assert events(overlap) == golden.overlaps
        return golden


def case(test):
    """A cocotb test that is handed a bench with images loaded."""
    async def run(dut):
        seed = seed_from_environment()
        cocotb.log.info("seed %#x", seed)
        bench = Bench(dut, seed)
        await bench.begin()
        await test(bench)

    run.__name__ = run.__qualname__ = test.__name__
    return cocotb.test(run)


def ramp():
    return np.arange(ENVELOPE_POINTS, dtype=np.int16) * 30 - 15000


@case
async def nothing_is_silence(bench):
    golden = await bench.run([], 100, 200)
    assert not golden.samples.any()


@case
async def a_pulse_without_carrier_is_its_envelope(bench):
    await bench.load_points(0, 0, ramp())
    await bench.load_wave(0, 0, wave_bits(1 << 24, 5, 40))
    golden = await bench.run([Issued(10, pulse(0, 0))], 0, 80)
    assert golden.active[0].nonzero()[0].tolist() == [*range(10, 50)]
    assert np.abs(golden.samples[0, 10:50] - ramp()[5:45]).max() <= 1


@case
async def steps_of_any_size(bench):
    commands, at = [], 10
    for index, step in enumerate((0, 1, 1 << 20, (1 << 24) - 1, 1 << 24, 3 << 23, 5 << 24,
                                  (1 << 30) - 1)):
        await bench.load_wave(0, index, wave_bits(step, 1020, 50))
        commands.append(Issued(at, pulse(index % NUMBER, index)))
        at += 55
    await bench.run(commands, 0, at)


@case
async def a_pulse_after_the_other(bench):
    lengths = [1, 1, 2, 3, 1, 40, 1]
    commands, at = [], 20
    for index, length in enumerate(lengths):
        await bench.load_wave(0, index, wave_bits(1 << 23, 100 * index, length))
        commands.append(Issued(at, pulse(0, index)))
        at += length
    golden = await bench.run(commands, 0, at + 20)
    assert golden.overlaps == []
    assert golden.active[0, 20:at].all()


@case
async def a_pulse_that_is_cut_short(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 23, 0, 50))
    golden = await bench.run([Issued(10, pulse(0, 0)), Issued(59, pulse(0, 0)),
                              Issued(109, pulse(0, 0))], 0, 200)
    assert golden.overlaps == [(59, 0)]


@case
async def length_zero_goes_on_until_the_next(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 22, 0, 0))
    await bench.load_wave(0, 1, wave_bits(1 << 22, 0, 5))
    golden = await bench.run([Issued(10, pulse(1, 0)), Issued(700, pulse(1, 1))], 0, 800)
    assert golden.overlaps == []
    assert golden.active[1].sum() == 695


@case
async def deferred_by_any_number_of_ticks(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 23, 7, 3))
    commands, at = [], 10
    for defer in (0, 1, 2, 3, 4, 5, 6, 254, 255):
        commands.append(Issued(at, pulse(0, 0, defer=defer)))
        at += defer + 3
    golden = await bench.run(commands, 0, at + 10)
    assert golden.overlaps == []
    assert len(golden.begun) == 9


@case
async def deferred_pulse_that_is_replaced(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 23, 7, 3))
    commands, at, expected = [], 10, []
    # Issued while the other waits, in the tick in which it begins, and later.
    for after in range(1, 8):
        for defer in (0, 1, 2, 9):
            commands += [Issued(at, pulse(0, 0, defer=4)),
                         Issued(at + after, pulse(0, 0, defer=defer))]
            begins = at + after + defer
            if after < 4 or after == 4 and defer == 0:
                expected.append((at + after, 0))
            elif begins < at + 7:
                expected.append((begins, 0))
            at += 40
    golden = await bench.run(commands, 0, at)
    assert golden.overlaps == expected


@case
async def deferred_pulses_of_all_defers_at_one_time(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 23, 7, 9))
    commands = [Issued(10 + 9 * k + k % 9, pulse(1, 0, defer=40 - k % 9)) for k in range(30)]
    await bench.run(commands, 0, 400)


@case
async def operands_from_registers(bench):
    await bench.load_wave(0, 300, wave_bits(1 << 23, 70, 30))
    rng = bench.rng
    commands = [
        Issued(10, pulse(0, 0, wave_register=3), a=0xABCDEE00 | 300 - 256 | 1 << 8),
        Issued(50, pulse(0, 300, amplitude_register=5), b=0x12348001),
        Issued(90, freq(0, 0, registers=True), a=rng.getrandbits(32), b=rng.getrandbits(32)),
        Issued(91, phase(0, 0, register=True), a=0x40000000),
        Issued(92, phase(0, 0, register=True, add=True), a=0xF0000000),
        Issued(93, offset(0, 0, register=True), a=0xFFFFFF00),
        Issued(100, pulse(0, 300)),
    ]
    golden = await bench.run(commands, 0, 160)
    assert golden.samples[0, 145] == -256
    assert golden.active[0].sum() == 90


@case
async def full_scale_saturates(bench):
    points = np.full(ENVELOPE_POINTS, -32768, np.int16)
    await bench.load_points(0, 2, points)
    await bench.load_wave(0, 0, wave_bits(1 << 24, 0, 20))
    golden = await bench.run([
        Issued(10, pulse(2, 0, amplitude=-32768)),
        Issued(40, offset(2, 20000)), Issued(41, pulse(2, 0, amplitude=-32768)),
        Issued(70, offset(2, -20000)), Issued(71, pulse(2, 0, amplitude=32767)),
        Issued(100, phase(2, 1 << 31)), Issued(101, pulse(2, 0, amplitude=-32768))], 0, 150)
    assert golden.samples[2, 10] == 32767 == golden.samples[2, 50]
    assert golden.samples[2, 80] == -32768 == golden.samples[2, 110]


@case
async def coming_back_to_a_frequency_finds_its_phase(bench):
    await bench.load_points(0, 0, np.full(ENVELOPE_POINTS, 32767, np.int16))
    await bench.load_wave(0, 0, wave_bits(0, 0, 0))
    word, other = bench.rng.getrandbits(36), bench.rng.getrandbits(36)
    start = (1 << 47) - 1000
    stays = [Issued(start + 10, freq(0, word)), Issued(start + 20, pulse(0, 0))]
    away = [*stays, Issued(start + 500, freq(0, other)),
            Issued(start + 1500, freq(0, other // 3, continuous=True)),
            Issued(start + 1777, freq(0, word))]
    never_left = await bench.run(stays, start, start + 2500)
    came_back = await bench.run(away, start, start + 2500)
    same = (never_left.samples == came_back.samples)[0]
    assert same[:500 + FREQ_TICKS].all()
    assert same[1777 + FREQ_TICKS:].all()
    assert not same[501:1777].all()


@case
async def continuous_change_of_frequency(bench):
    await bench.load_wave(0, 0, wave_bits(0, 0, 0))
    commands = [Issued(10, pulse(0, 0)), Issued(11, freq(0, 1 << 30))]
    commands += [Issued(20 + k, freq(0, (1 << 30) + (k << 24), continuous=True))
                 for k in range(100)]
    await bench.run(commands, 0, 300)


@case
async def coherent_at_the_end_of_time(bench):
    await bench.load_wave(0, 0, wave_bits(0, 0, 0))
    start = (1 << 48) - 60
    await bench.run([Issued(start + 5, pulse(0, 0)), Issued(start + 6, freq(0, 123456789))]
                    + [Issued(start + 30 + k, freq(0, (1 << 36) - 1 - k)) for k in range(60)],
                    start, start + 120)
    start = (1 << 64) - 400
    await bench.run([Issued(start + 5, freq(1, 987654321)), Issued(start + 6, pulse(1, 0))],
                    start, start + 300)


@case
async def phase_is_set_and_added_to(bench):
    await bench.load_wave(0, 0, wave_bits(0, 0, 0))
    commands = [Issued(10, pulse(0, 0))]
    commands += [Issued(20 + k, phase(0, bench.rng.getrandbits(32), add=bool(k % 3)))
                 for k in range(60)]
    await bench.run(commands, 0, 120)


@case
async def commands_that_are_not_for_channels(bench):
    rng = bench.rng
    commands = []
    for k in range(300):
        word = rng.getrandbits(64) & ~63 | rng.choice([0, 1, 2, 7, 8, 16, 24, 32, 40, 63])
        commands.append(Issued(10 + k, word, rng.getrandbits(32), rng.getrandbits(32)))
    commands += [Issued(400 + k, pulse(NUMBER + k, 0)) for k in range(CHANNELS - NUMBER)]
    golden = await bench.run(commands, 0, 450)
    assert golden.begun == []


@case
async def silence_ends_pulses_and_offsets(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 20, 0, 0))
    await bench.set_safe([1000, -2000, 3])
    commands = [Issued(5, freq(0, 1 << 33)), Issued(6, offset(0, 77)), Issued(10, pulse(0, 0)),
                Issued(11, pulse(1, 0)), Issued(12, pulse(2, 0, defer=90)),
                # In the tick of silence, during it, and in the first tick after.
                Issued(50, pulse(0, 0)), Issued(60, offset(0, 5)),
                Issued(61, pulse(1, 0, defer=60)), Issued(62, phase(0, 1 << 30)),
                Issued(63, freq(1, 1 << 34)),
                Issued(99, pulse(1, 0)), Issued(100, pulse(0, 0)), Issued(140, offset(1, 9))]
    golden = await bench.run(commands, 0, 200, silences=[(51, 0b111), (101, 0b000)])
    assert (golden.samples[0, 50:100] == 1000).all()
    assert golden.begun == [(10, 0), (11, 1), (100, 0)]
    assert golden.samples[1, 150] == 9
    await bench.set_safe([0])


@case
async def silence_of_one_tick(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 20, 0, 30))
    for at in range(38, 46):
        commands = [Issued(10, pulse(0, 0, defer=30)), Issued(20, pulse(1, 0, defer=40)),
                    Issued(42, pulse(0, 0)), Issued(43, offset(0, 600))]
        await bench.run(commands, 0, 100, silences=[(at, 0b001), (at + 1, 0)])


@case
async def slots_are_apart(bench):
    commands = [Issued(10 + 300 * k, pulse(k % NUMBER, k + 20)) for k in range(4)]
    commands += [Issued(1300 + 300 * k, pulse(k % NUMBER, k + 20)) for k in range(4)]
    commands += [Issued(tick, offset(0, 0)) for tick in (1250,)]
    silences = [(1200, 0xFF), (1220, 0)]
    golden = await bench.run(commands, 0, 2600, slots=((0, 0), (1210, 1)), silences=silences)
    assert golden.samples.any()


@case
async def the_other_slot_is_written_while_this_one_plays(bench):
    new = random_image(bench.rng)

    async def write():
        await bench.load_points(1, 0, new.envelopes[0])
        for index in range(40):
            await bench.load_wave(1, index, int(new.waves[index]))

    commands = [Issued(10 + 7 * k, pulse(0, k % 200, defer=k % 5)) for k in range(120)]
    await bench.run(commands, 0, 1000, actions={20: write})
    await bench.run(commands, 0, 1000, slots=((0, 1),))


@case
async def reset_in_the_middle(bench):
    await bench.load_wave(0, 0, wave_bits(1 << 20, 0, 0))
    commands = [Issued(10, pulse(0, 0)), Issued(11, freq(0, 1 << 34)), Issued(12, offset(1, 88)),
                Issued(13, phase(2, 1 << 31)), Issued(14, pulse(2, 0, defer=255)),
                Issued(15, pulse(1, 0))]
    await bench.run(commands, 0, 60)
    # `run` begins with a reset: nothing of what played is left.
    golden = await bench.run([], 1000, 1400)
    assert not golden.samples.any()


def random_commands(rng, start, stop):
    """Anything, anywhere: many ticks in a row, or pauses."""
    commands, tick = [], start + 5
    while tick < stop:
        kind, channel = rng.random(), rng.randrange(NUMBER + 1)
        a, b = rng.getrandbits(32), rng.getrandbits(32)
        register = rng.random() < 0.3
        if kind < 0.55:
            word = pulse(channel, rng.getrandbits(9),
                         amplitude=rng.choice([rng.randrange(-32768, 32768), -32768, 32767]),
                         defer=rng.choice([0, 0, rng.randrange(8), rng.getrandbits(8)]),
                         wave_register=rng.choice([None, rng.randrange(16)]),
                         amplitude_register=rng.choice([None, rng.randrange(16)]))
        elif kind < 0.7:
            word = freq(channel, rng.getrandbits(36), continuous=rng.random() < 0.5,
                        registers=register)
        elif kind < 0.85:
            word = phase(channel, rng.getrandbits(32), add=rng.random() < 0.5, register=register)
        elif kind < 0.97:
            word = offset(channel, rng.randrange(-32768, 32768) >> rng.randrange(16),
                          register=register)
        else:
            word = rng.getrandbits(64) & ~63 | rng.randrange(7, 64)
        commands.append(Issued(tick, word, a, b))
        tick += rng.choice([1, 1, 1, rng.randrange(1, 12), rng.randrange(1, 200)])
    return commands


@case
async def random_programs(bench):
    rng = bench.rng
    await bench.set_safe([rng.randrange(-32768, 32768) for _ in range(NUMBER)])
    compared = 0
    for _ in range(20 if os.environ.get("QUANTACORE_SOAK") else 1):
        start = rng.choice([rng.getrandbits(20), rng.getrandbits(47), rng.getrandbits(63)])
        stop = start + int(os.environ.get("QC_TICKS", 25_000))
        silences, tick = [], start
        while tick < stop:
            tick += rng.randrange(1, 6000)
            silences += [(tick, rng.getrandbits(8)), (tick := tick + rng.randrange(1, 100), 0)]
        golden = await bench.run(random_commands(rng, start, stop), start, stop,
                                 silences=silences)
        assert golden.begun and golden.overlaps
        compared += golden.samples.size
    if "QC_COUNTS" in os.environ:
        # For a benchmark: that a single sample differs ends the test before this.
        Path(os.environ["QC_COUNTS"]).write_text(json.dumps({"compared": compared,
                                                             "different": 0}))
    await bench.set_safe([0])
