"""Accesses to a block's registers, from a cocotb testbench."""

from cocotb.triggers import ClockCycles, FallingEdge

from quantacore.gateware.layouts.frames import Status

__all__ = ["access_register"]


async def access_register(dut, address, strobe, value=0):
    """Read or write a word by the ports ``csr__*`` of ``dut``; what was read.

    Parameters
    ----------
    dut : cocotb handle
        With a port ``clk``; called in the moment after its edge, and returns in such a one.
    address : int
    strobe : "read" or "write"
    value : int
        To be written.

    Raises
    ------
    AssertionError
        If the access is not acknowledged.
    """
    dut.csr__address.value = address
    dut.csr__w_data.value = value
    getattr(dut, f"csr__{strobe}").value = 1
    await ClockCycles(dut.clk, 1)
    getattr(dut, f"csr__{strobe}").value = 0
    while True:
        await FallingEdge(dut.clk)
        if dut.csr__done.value == 1:
            break
    assert int(dut.csr__status.value) == Status.ACK.value
    value = int(dut.csr__r_data.value)
    await ClockCycles(dut.clk, 1)
    return value
