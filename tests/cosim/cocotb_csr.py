"""Drive the bus with all that may happen and compare with the dictionary model."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Access, Memory
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.registers import EXAMPLE_MAP, mask_of, memory_word
from quantacore.sim.golden.registers import RegisterModel

MAP = {"example": EXAMPLE_MAP, "node": NODE_MAP}[os.environ["QC_MAP"]]
#: Clocks from a request to `done`, and to the moment whose values a read returns.
DONE, SAMPLE = 4, 2
SOAK = 20 if os.environ.get("QUANTACORE_SOAK") else 1


class Bench:
    """Bus driver, monitor and model of one device under test."""

    def __init__(self, dut):
        self.dut = dut
        self.random = random.Random(seed_from_environment())
        self.counter = 0
        self.numbers = {}
        self.flags = {}
        number = 0
        for placed in MAP.placed():
            for index in range(placed.register.size // placed.register.words):
                self.numbers[placed.name, index] = number
                number += 1
        self.model = RegisterModel(MAP, sample=self.sample)
        self.events = []

    def sample(self, placed, index):
        register = placed.register
        if isinstance(register, Memory):
            return memory_word(index)
        if register.access is Access.CLEAR_BY_ONE:
            return self.flags.get((placed.name, index), 0)
        both = self.counter | self.counter << 32
        return (both ^ mask_of(self.numbers[placed.name, index])) & (1 << register.width) - 1

    async def start(self):
        cocotb.start_soon(Clock(self.dut.clk, 8, "ns").start())
        for port in ("read", "write", "address", "w_data"):
            getattr(self.dut, f"bus__{port}").value = 0
        self.dut.raise_flags.value = 0
        await self.reset()

    async def reset(self):
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.dut.bus__read.value = 0
        self.dut.bus__write.value = 0
        self.model.reset()
        self.flags.clear()

    async def settled(self):
        """Look at this clock's values; note what was written."""
        await ReadOnly()
        strobes = int(self.dut.strobes.value)
        assert strobes <= 1, f"{strobes} registers written in one clock"
        if strobes:
            self.events.append((int(self.dut.event.value), int(self.dut.value.value)))

    async def idle(self, clocks):
        for _ in range(clocks):
            await self.settled()
            assert not self.dut.bus__done.value, "done without a request"
            await RisingEdge(self.dut.clk)

    async def transaction(self, address, word=None):
        """Request now, return in the clock of ``done``; check everything."""
        dut = self.dut
        (dut.bus__read if word is None else dut.bus__write).value = 1
        dut.bus__address.value = address
        dut.bus__w_data.value = self.random.getrandbits(32) if word is None else word
        self.events.clear()
        event = None
        for clock in range(DONE):
            await self.settled()
            assert not dut.bus__done.value, f"done {clock} clocks after the request"
            if clock == SAMPLE:
                self.counter = int(dut.counter.value)
                if word is None:
                    expected = self.model.read(address)
                else:
                    status, event = self.model.write(address, word)
                    expected = status, None
            await RisingEdge(dut.clk)
            if clock == 0:
                dut.bus__read.value = 0
                dut.bus__write.value = 0
                # What the master leaves on its lines between requests must not matter.
                dut.bus__address.value = self.random.getrandbits(16)
                dut.bus__w_data.value = self.random.getrandbits(32)
        await self.settled()
        assert dut.bus__done.value, f"no done {DONE} clocks after a request at {address:#x}"
        status = Status(int(dut.bus__status.value))
        assert status == expected[0], f"{address:#x}: {status}, expected {expected[0]}"
        value = int(dut.bus__r_data.value)
        if word is None:
            assert value == expected[1], f"{address:#x}: {value:#x}, expected {expected[1]:#x}"
        if event is not None:
            placed, index, bits = event
            event = [(self.numbers[placed.name, index], bits)]
            if placed.register.access is Access.CLEAR_BY_ONE:
                self.flags[placed.name, index] = self.flags.get((placed.name, index), 0) & ~bits
        assert self.events == (event or []), f"{address:#x}: {self.events}, expected {event}"
        await RisingEdge(dut.clk)
        return status, value

    async def raise_flags(self):
        self.dut.raise_flags.value = 1
        await self.idle(1)
        self.dut.raise_flags.value = 0
        for placed in MAP.placed():
            if placed.register.access is Access.CLEAR_BY_ONE:
                for index in range(placed.register.count or 1):
                    self.flags[placed.name, index] = (1 << placed.register.width) - 1

    def address(self):
        """An address, mostly of a register, sometimes near one, seldom anywhere."""
        if self.random.random() < 0.05:
            return self.random.getrandbits(16)
        placed = self.random.choice(MAP.placed())
        if self.random.random() < 0.2:
            near = placed.address + placed.register.size + self.random.randint(-2, 2)
            return near & 0xFFFF
        return placed.address + self.random.randrange(placed.register.size)


@cocotb.test()
async def every_address_of_the_map(dut):
    bench = Bench(dut)
    await bench.start()
    last = MAP.placed()[-1]
    # All words of small registers and of the gaps beside them, a few of memories and large gaps.
    near = {p.address + i for p in MAP.placed() for i in range(-2, min(p.register.size, 16) + 2)}
    small = sorted({last.address + last.register.size - 1, *range(0, 1 << MAP.addr_width, 67),
                    *near} - {-2, -1})
    for address in small:
        await bench.transaction(address)
    for address in small:
        await bench.transaction(address, bench.random.getrandbits(32))
        await bench.transaction(address)


@cocotb.test()
async def random_traffic(dut):
    bench = Bench(dut)
    await bench.start()
    rng = bench.random
    wide = [p for p in MAP.placed() if p.register.words == 2]
    for _ in range(2500 * SOAK):
        match rng.randrange(6):
            case 0:
                await bench.transaction(bench.address())
            case 1:
                await bench.transaction(bench.address(), rng.getrandbits(32))
            case 2:  # read-modify-write, as the link does it
                address = bench.address()
                _status, old = await bench.transaction(address)
                await bench.transaction(address, old ^ rng.getrandbits(32))
            case 3:  # both halves, perhaps with something between
                placed = rng.choice(wide)
                address = placed.element(rng.randrange(placed.register.count or 1))
                write = rng.random() < 0.5
                for part in (address, address + 1):
                    await bench.transaction(part, rng.getrandbits(32) if write else None)
                    if rng.random() < 0.3:
                        word = rng.getrandbits(32) if rng.random() < 0.7 else None
                        await bench.transaction(bench.address(), word)
            case 4:
                await bench.idle(rng.randrange(12))
            case 5:
                if rng.random() < 0.2:
                    await bench.raise_flags()


@cocotb.test()
async def reads_of_64_bits_are_of_one_moment(dut):
    bench = Bench(dut)
    await bench.start()
    for placed in MAP.placed():
        if placed.register.words == 2 and placed.register.access is Access.READ_ONLY:
            for index in range(placed.register.count or 1):
                address = placed.element(index)
                _status, low = await bench.transaction(address)
                await bench.idle(bench.random.randrange(60))
                _status, high = await bench.transaction(address + 1)
                mask = mask_of(bench.numbers[placed.name, index])
                keep = (1 << placed.register.width - 32) - 1
                assert (low ^ high ^ mask ^ mask >> 32) & keep == 0, "halves of two moments"


@cocotb.test()
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.start()
    rng = bench.random
    for _ in range(60):
        for _ in range(rng.randrange(4)):
            await bench.transaction(bench.address(), rng.getrandbits(32))
        (dut.bus__write if rng.random() < 0.5 else dut.bus__read).value = 1
        dut.bus__address.value = bench.address()
        dut.bus__w_data.value = rng.getrandbits(32)
        for _ in range(rng.randrange(1, 5)):
            await RisingEdge(dut.clk)
            dut.bus__read.value = 0
            dut.bus__write.value = 0
        await bench.reset()
        bench.events.clear()
        await bench.idle(8)
        assert not bench.events, "a request from before the reset was carried out"
        for _ in range(4):
            await bench.transaction(bench.address())
