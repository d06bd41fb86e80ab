"""Random register operations through a line that damages, drops, doubles and delays.

A Hypothesis state machine: whatever the line does, every value read is the one written, nothing
hangs (time is simulated, and a minute of it without an answer is a failure), no register changes
that was not written, and every frame that was sent twice is in the statistics.
"""

import asyncio

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.registers import Access
from quantacore.host.driver.errors import ReadOnlyError, UnmappedError
from quantacore.host.driver.link import LinkClient
from quantacore.host.transport.faulty import FaultRates, FaultyTransport
from quantacore.sim.bench.golden_node import GoldenTransport, SimulatedTimeLoop

#: Registers that hold what is written: (name, index, address, bits).
PLAIN = [(p.name, i, p.element(i), p.register.width) for p in NODE_MAP.placed()
         if p.register.access is Access.READ_WRITE and p.name != "link.lease"
         for i in range(p.register.count or 1)]
NARROW = [r for r in PLAIN if r[3] <= 32]
WIDE = [r for r in PLAIN if r[3] > 32]
DEAD_TIME = NODE_MAP["tagger.dead_time"].address

words = st.integers(0, 0xFFFFFFFF)
rates = st.builds(
    FaultRates,
    flip=st.sampled_from([0, 1e-3, 5e-3]), drop=st.sampled_from([0, 1e-3, 3e-3]),
    double=st.sampled_from([0, 1e-3, 3e-3]), frame_drop=st.sampled_from([0, 0.05]),
    frame_double=st.sampled_from([0, 0.1]), frame_delay=st.sampled_from([0, 0.1]),
    frame_cut=st.sampled_from([0, 0.05]))


class FaultyLink(RuleBasedStateMachine):
    @initialize(rates=rates, seed=st.integers(0, 2**32 - 1))
    def connect(self, rates, seed):
        self.runner = asyncio.Runner(loop_factory=SimulatedTimeLoop)
        golden = GoldenTransport()
        self.node = golden.endpoint
        self.faulty = FaultyTransport(golden, rates, seed=seed)
        self.link = LinkClient(self.faulty, retries=40)
        self.model = {(name, i): self.node.get(name, i) for name, i, _, _ in PLAIN}
        self.run(self.link.open())

    def run(self, coroutine):
        async def bounded():
            return await asyncio.wait_for(coroutine, 60)

        return self.runner.run(bounded())

    @rule(register=st.sampled_from(NARROW), value=words)
    def write(self, register, value):
        name, index, address, bits = register
        self.run(self.link.write_word(address, value))
        self.model[name, index] = value & (1 << bits) - 1

    @rule(register=st.sampled_from(NARROW))
    def read(self, register):
        name, index, address, _bits = register
        assert self.run(self.link.read_word(address)) == self.model[name, index]

    @rule(register=st.sampled_from(WIDE), value=st.integers(0, 2**64 - 1))
    def write_wide(self, register, value):
        name, index, address, bits = register
        value &= (1 << bits) - 1
        self.run(self.link.write(address, [value & 0xFFFFFFFF, value >> 32]))
        self.model[name, index] = value
        low, high = self.run(self.link.read(address, 2))
        assert low | high << 32 == value

    @rule(register=st.sampled_from(NARROW), mask=words, value=words)
    def modify(self, register, mask, value):
        name, index, address, bits = register
        old = self.model[name, index]
        assert self.run(self.link.modify(address, mask, value)) == old
        self.model[name, index] = (old & ~mask | value & mask) & (1 << bits) - 1

    @rule(values=st.lists(words, min_size=1, max_size=8))
    def burst(self, values):
        self.run(self.link.write(DEAD_TIME, values))
        for i, value in enumerate(values):
            self.model["tagger.dead_time", i] = value
        assert self.run(self.link.read(DEAD_TIME, 8)) == [
            self.model["tagger.dead_time", i] for i in range(8)]

    @rule(values=st.dictionaries(st.sampled_from(NARROW), words, min_size=1, max_size=20))
    def many_at_once(self, values):
        async def all_of_them():
            async def one(address, value):
                await self.link.write_word(address, value)
                return await self.link.read_word(address)

            return await asyncio.gather(*(one(r[2], value) for r, value in values.items()))

        results = self.run(all_of_them())
        for ((name, index, _, bits), value), result in zip(values.items(), results, strict=True):
            self.model[name, index] = value & (1 << bits) - 1
            assert result == self.model[name, index]

    @rule(value=words)
    def refused(self, value):
        with pytest.raises(UnmappedError):
            self.run(self.link.write_word(31, value))
        with pytest.raises(ReadOnlyError):
            self.run(self.link.write_word(0, value))

    @rule()
    def idle(self):
        self.run(asyncio.sleep(1))

    @rule()
    def reconnect(self):
        self.run(self.link.reconnect(takeover=True))

    @invariant()
    def no_other_register_changed(self):
        if hasattr(self, "model"):
            assert {key: self.node.get(*key) for key in self.model} == self.model

    @invariant()
    def every_frame_is_counted(self):
        if hasattr(self, "link"):
            statistics = self.link.statistics
            assert self.faulty.frames_written == statistics.requests + statistics.retries

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.run(self.link.close())
            self.runner.close()


FaultyLink.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow])
TestFaultyLink = FaultyLink.TestCase
