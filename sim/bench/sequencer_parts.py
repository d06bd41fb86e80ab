"""What stands around the sequencer's engine, in one component, so that it is built once."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from quantacore.gateware.sequencer.marks import Marks
from quantacore.gateware.sequencer.outputs import Outputs
from quantacore.gateware.sequencer.slots import Slots

__all__ = ["SequencerParts"]


class SequencerParts(wiring.Component):
    """Outputs, marks and slots, side by side.

    Parameters
    ----------
    mark_depth : int
        Marks that may wait.
    channels : int
        Channels with envelopes.

    Members
    -------
    outputs, marks, slots
        The ports of each.
    """

    def __init__(self, *, mark_depth, channels):
        self._parts = {"outputs": Outputs(), "marks": Marks(depth=mark_depth),
                       "slots": Slots(channels=channels)}
        super().__init__({name: Out(part.signature) for name, part in self._parts.items()})

    def elaborate(self, platform):
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            wiring.connect(m, wiring.flipped(getattr(self, name)), part)
        return m
