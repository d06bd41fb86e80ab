"""Registers of the virtual channels: edges made from coincidences of the tagger's edges."""

from amaranth.lib import data, enum

from quantacore.gateware.layouts.registers import Access, Block, Register, sticky_registers
from quantacore.gateware.layouts.tags import MAX_CHANNELS

__all__ = ["VIRTUAL_CHANNELS", "FIRST_VIRTUAL", "WINDOW_BITS", "VirtualKind", "VirtualChannel",
           "VirtualFlags", "VIRTUAL"]

#: Virtual channels.
VIRTUAL_CHANNELS = 4
#: Channel number of the first one, in tags and for the histogram.
FIRST_VIRTUAL = 32
#: Bits of windows and guards, in fine units: 2048 ticks.
WINDOW_BITS = 24


class VirtualKind(enum.Enum, shape=1):
    """What makes an edge of a virtual channel."""

    #: All of ``detectors`` had an edge, none of them used before, and the first of these edges is
    #: at most ``window`` before the last. The edge has the time of the last.
    COINCIDENCE = 0
    #: An edge that no edge precedes by less than ``guard_before`` opens a group, with the edges
    #: that follow it by at most ``window``. If these are of exactly ``detectors``, and no edge
    #: follows within another ``guard_after``, there is an edge at the time of the first.
    COMBINATION = 1


class VirtualChannel(data.Struct):
    """What a virtual channel looks at."""

    enable: 1
    kind: VirtualKind
    #: Its edges go to the tag stream; to the histogram they always go.
    record: 1
    #: Detectors that must have an edge.
    detectors: MAX_CHANNELS
    #: Detectors whose edges a combination takes notice of; those of others are as if they were
    #: not.
    watched: MAX_CHANNELS


class VirtualFlags(data.Struct):
    """Things that make virtual channels incomplete."""

    #: An edge came while too many edges of its detector waited: there were too many in ``hold``.
    edge_lost: 1
    #: An edge came when later ones had gone: ``hold`` is too short for the delays.
    edge_late: 1
    #: A virtual edge found the queue of records full.
    tag_lost: 1


def _per_channel(name, doc, **kwargs):
    return Register(name=name, count=VIRTUAL_CHANNELS, doc=doc, **kwargs)


def _window(name, doc):
    return _per_channel(name, doc, shape=WINDOW_BITS, unit="fine units")


def _edges(name, doc):
    return Register(name=name, shape=48, access=Access.READ_ONLY, unit="edges", doc=doc)


VIRTUAL = Block(
    name="virtual",
    doc="Virtual channels, from the edges that the tagger tags, rising and falling. Without flags "
        "they are exact. generated = sent + lost (+ those on their way) of channels with `record`.",
    registers=(
        _per_channel("channels", "What each looks at; a change forgets nothing.",
                     shape=VirtualChannel),
        _window("window", "Width of the coincidence window."),
        _window("guard_before", "Combinations: time without edges before the first."),
        _window("guard_after", "Combinations: time without edges after the window."),
        Register(name="hold", shape=16, init=2048, unit="ticks",
                 doc="Edges wait until they are this old, and are then taken in order of their "
                     "times: longer than any negative delay of the tagger and the time that edges "
                     "wait in it."),
        Register(name="clear", shape=1, access=Access.WRITE_ONLY,
                 doc="Write 1 to forget all edges and zero all counts; needed after the tick "
                     "counter was set back."),
        _per_channel("generated", "Edges of each virtual channel.", shape=48,
                     access=Access.READ_ONLY, unit="edges"),
        _edges("sent", "Virtual edges written to the tag stream."),
        _edges("lost", "Virtual edges that found the queue of records full."),
        _edges("edges_lost", "Edges of detectors that found their queue full."),
        _edges("edges_late", "Edges of detectors that came too late."),
        *sticky_registers(VirtualFlags),
    ),
)
