"""The generated register surface is what the layouts say, and checks what it is given."""

import pytest

from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.host.driver import generate, registers
from quantacore.host.driver.link import LinkClient
from quantacore.sim.bench.golden_node import GoldenTransport, run_in_simulated_time


def on_registers(scenario):
    async def main():
        golden = GoldenTransport()
        async with LinkClient(golden) as client:
            return await scenario(registers.NodeRegisters(client), golden.endpoint)

    return run_in_simulated_time(main())


def test_generated_file_is_current():
    assert generate.OUTPUT.read_text() == generate.generate(), (
        "write it anew with: python -m quantacore.host.driver.generate")
    assert registers.MAP_CRC == map_crc()


def test_check_option(tmp_path, monkeypatch, capsys):
    assert generate.main(["--check"]) == 0
    monkeypatch.setattr(generate, "OUTPUT", tmp_path / "registers.py")
    assert generate.main(["--check"]) == 1
    assert "python -m quantacore.host.driver.generate" in capsys.readouterr().err
    assert generate.main([]) == 0 and generate.main(["--check"]) == 0


def test_every_register_is_there():
    async def scenario(regs, node):
        for placed in NODE_MAP.placed():
            bound = getattr(getattr(regs, placed.block), placed.register.name)
            descriptor = bound.register
            assert descriptor.address == placed.address and descriptor.name == placed.name
            assert descriptor.width == placed.register.width
            assert descriptor.access == placed.register.access.value
            assert descriptor.signed == placed.register.signed

    on_registers(scenario)


def test_plain_signed_wide_and_array_values():
    async def scenario(regs, node):
        await regs.tagger.delay[2].write(-5)
        assert node.get("tagger.delay", 2) == (1 << 24) - 5
        assert await regs.tagger.delay[2].read() == -5
        await regs.timing.acquire_virtual.write(1 << 40)
        assert await regs.timing.acquire_virtual.read() == 1 << 40
        await regs.tagger.dead_time[3].write(9)
        assert await regs.tagger.dead_time.read() == [0, 0, 0, 9, 0, 0, 0, 0]
        node.set("tagger.seen", 1 << 47, 7)
        assert (await regs.tagger.seen.read())[7] == 1 << 47
        node.set("timing.phase_error", -3)
        assert await regs.timing.phase_error.read() == -3

    on_registers(scenario)


def test_fields_and_enumerations():
    async def scenario(regs, node):
        await regs.histogram.control.write(run=1, mode=1, start_channel=3, stop_channel=4,
                                           bin_shift=5)
        control = await regs.histogram.control.read()
        assert control.mode is registers.HistogramMode.ALL_PAIRS
        assert (control.start_channel, control.stop_channel, control.bin_shift) == (3, 4, 5)
        old = await regs.histogram.control.modify(run=0)
        assert old == control and old.run == 1
        assert "bin_shift=5" in repr(control)
        await regs.tagger.edges[0].write(registers.Edges.BOTH)
        assert await regs.tagger.edges[0].read() is registers.Edges.BOTH
        control.run = 0
        await regs.histogram.control.write(control)
        assert await regs.histogram.control.read() == control

    on_registers(scenario)


def test_memory():
    async def scenario(regs, node):
        for i in range(4096):
            node.set("histogram.bins", 3 * i, i)
        assert await regs.histogram.bins.read() == [3 * i for i in range(4096)]
        assert await regs.histogram.bins.read(4000, 2) == [12000, 12003]
        assert await regs.histogram.bins.read(5, 0) == []
        with pytest.raises(IndexError, match="words 0 to 4095, not 4090 to 4099"):
            await regs.histogram.bins.read(4090, 10)

    on_registers(scenario)


def test_timed_write_through_a_register():
    async def scenario(regs, node):
        await regs.identity.scratch.write_at(1000, 6)
        node.tick = 1000
        assert await regs.identity.scratch.read() == 6
        with pytest.raises(ValueError, match="acquire_virtual has 64 bits; a timed write takes 32"):
            await regs.timing.acquire_virtual.write_at(2000, 1)
        with pytest.raises(ValueError, match="can only be read"):
            await regs.identity.magic.write_at(2000, 1)

    on_registers(scenario)


def test_read_all_leaves_out_what_cannot_be_read():
    async def scenario(regs, node):
        values = await regs.timing.read_all()
        assert values["period"] == 125_000_000 and "tick_load" not in values

    on_registers(scenario)


@pytest.mark.parametrize("action, error, text", [
    (lambda r: r.tagger.dead_time[0].write(1 << 32), ValueError,
     r"tagger.dead_time\[0\] must be 0 to 4294967295 fine units, not 4294967296"),
    (lambda r: r.tagger.delay[1].write(1 << 23), ValueError, "-8388608 to 8388607 fine units"),
    (lambda r: r.tagger.dead_time[8], IndexError, "elements 0 to 7, there is no number 8"),
    (lambda r: r.histogram.control.modify(speed=1), AttributeError, "no field 'speed'; it has run"),
    (lambda r: r.histogram.control.modify(bin_shift=32), ValueError, "must be 0 to 31, not 32"),
    (lambda r: r.identity.scratch.modify(x=1), TypeError, "identity.scratch has no fields"),
    (lambda r: r.identity.scratch.write(registers.TaggerControl(run=1)), TypeError,
     "does not hold TaggerControl"),
])
def test_bad_values_are_refused_before_they_are_sent(action, error, text):
    async def scenario(regs, node):
        before = node.get("link.frames_received")
        with pytest.raises(error, match=text):
            await action(regs)
        assert node.get("link.frames_received") == before

    on_registers(scenario)
