"""Register access to a component under :class:`~quantacore.sim.bench.replay.Replay`."""

from quantacore.gateware.layouts.frames import Status
from quantacore.gateware.layouts.registers import WORD_BITS

__all__ = ["ReplayRegisters"]


class ReplayRegisters:
    """Reads and writes the registers of one block, whose bus is the port ``csr``.

    Each access takes some clocks of the simulation, with the other inputs as they were left.
    """

    def __init__(self, replay, block):
        self._replay = replay
        self._registers = {register.name: (offset, register)
                           for offset, register in block.offsets()}

    def _access(self, address, strobe, value=0):
        replay = self._replay
        replay.set("csr__address", address)
        replay.set("csr__w_data", value)
        replay.set(f"csr__{strobe}", 1)
        replay.step()
        replay.set(f"csr__{strobe}", 0)
        for _ in range(8):
            if replay.get("csr__done"):
                break
            replay.step()
        status = Status(replay.get("csr__status"))
        if status is not Status.ACK:
            raise RuntimeError(f"Register address {address} answers {status.name} to {strobe}")
        return replay.get("csr__r_data")

    def write(self, name, value, index=0):
        """Write a register (or element ``index`` of an array) as bits."""
        offset, register = self._registers[name]
        for word in range(register.words):
            piece = (value >> WORD_BITS * word) & ((1 << WORD_BITS) - 1)
            self._access(offset + index * register.words + word, "write", piece)

    def read(self, name, index=0):
        """Read a register (or element ``index`` of an array or a memory) as bits."""
        offset, register = self._registers[name]
        return sum(self._access(offset + index * register.words + word, "read")
                   << WORD_BITS * word for word in range(register.words))
