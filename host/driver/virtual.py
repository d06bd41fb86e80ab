"""Virtual channels of a node: edges that it makes from its detectors' edges, and their account.

::

    await node.herald.configure("my_plan.json")     # what they look at is in the plan
    await node.tagger.enable(0, 1)
    await node.tagger.run()
    print((await node.virtual.counts()).edges)

docs/tags.md says what makes an edge of a virtual channel.
"""

import asyncio
from dataclasses import dataclass
from fractions import Fraction

from quantacore.gateware.layouts.virtual import FIRST_VIRTUAL, VIRTUAL_CHANNELS
from quantacore.host.driver.block import CheckedBlockDriver
from quantacore.host.driver.errors import LinkError

__all__ = ["VirtualDriver", "VirtualError", "VirtualMissingError", "VirtualEdgesLostError",
           "VirtualEdgesLateError", "VirtualTagsLostError", "FLAG_ERRORS", "VirtualCounts"]


class VirtualError(LinkError):
    """Base of what goes wrong with virtual channels."""


class VirtualMissingError(VirtualError):
    """The node was built without virtual channels."""


class VirtualEdgesLostError(VirtualError):
    """Edges of a detector came faster than virtual channels could look at them."""


class VirtualEdgesLateError(VirtualError):
    """An edge came when later ones had been looked at: hold is too short for the delays."""


class VirtualTagsLostError(VirtualError):
    """Edges of virtual channels came faster than the tag stream took them."""


#: Exception of each sticky flag, for :meth:`VirtualDriver.check_flags`.
FLAG_ERRORS = {"edge_lost": VirtualEdgesLostError, "edge_late": VirtualEdgesLateError,
               "tag_lost": VirtualTagsLostError}


@dataclass(frozen=True)
class VirtualCounts:
    """The account of the virtual channels, since they were cleared.

    Of channels whose edges go to the tag stream, ``edges = sent + lost`` (+ on their way).

    Attributes
    ----------
    edges : dict of str to int
        Edges of each virtual channel, by name.
    sent, lost : int
        Edges that went to the tag stream, and that it had no room for.
    edges_lost, edges_late : int
        Edges of detectors that no virtual channel saw, because too many waited, or because they
        came too late: where one is not 0, ``edges`` are not exact.
    """

    edges: dict
    sent: int
    lost: int
    edges_lost: int
    edges_late: int

    @property
    def exact(self):
        """Whether the virtual channels saw all edges that the tagger tagged."""
        return not self.edges_lost and not self.edges_late


class VirtualDriver(CheckedBlockDriver):
    """The virtual channels. What they look at is said by a channel plan, and loaded by
    :meth:`HeraldDriver.configure <quantacore.host.driver.herald.HeraldDriver.configure>`."""

    flag_errors = FLAG_ERRORS

    def there(self):
        """Raise :class:`VirtualMissingError` if the node has no virtual channels."""
        if not self.node.identity.herald:
            raise VirtualMissingError(
                "This node was built without virtual channels; build one with "
                "NodeConfig(herald=True, ...), or start a virtual node with "
                "virtual:?herald=yes&sequencer=8")

    def names(self):
        """``{number: name}`` of those worth showing: the plan's, or all four by their channel in
        tags where no plan was loaded."""
        compiled = self.node.herald.compiled
        if compiled is None:
            return {k: f"virtual{FIRST_VIRTUAL + k}" for k in range(VIRTUAL_CHANNELS)}
        return {v.number: v.name for v in
                sorted(compiled.plan.virtual.values(), key=lambda v: v.number)}

    async def counts(self):
        """:class:`VirtualCounts`; each number is right for a moment of its own."""
        self.there()
        registers = self.registers
        edges, *totals = await asyncio.gather(
            registers.generated.read(), registers.sent.read(), registers.lost.read(),
            registers.edges_lost.read(), registers.edges_late.read())
        return VirtualCounts({name: edges[k] for k, name in self.names().items()}, *totals)

    async def clear(self):
        """Zero all counts and forget all edges; needed after the tick counter was set back."""
        self.there()
        await self.registers.clear.write(1)

    async def set_hold(self, seconds):
        """Let edges wait so long until they are taken in order of time; return what was achieved.

        It must be longer than the most negative delay of the tagger and the time that edges wait
        in it. Warns :class:`~quantacore.host.driver.errors.AchievedValueWarning` where that is
        another than asked for.
        """
        self.there()
        register, step = self.registers.hold, self.units.tick_ps / 10**12
        ticks = self.units.ticks(seconds)
        self._quantised("Hold", Fraction(seconds), step, ticks, ticks * step,
                        *register.register.limits)
        await register.write(ticks)
        return self.units.ticks_s(ticks)

    async def hold(self):
        """How long edges wait, in seconds."""
        self.there()
        return self.units.ticks_s(await self.registers.hold.read())

    async def flags(self):
        self.there()
        return await super().flags()
