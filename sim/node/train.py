"""Exercise a freshly built node, so that the compiler learns what it mostly does.

``python -m quantacore.sim.node.train LIBRARY CHANNELS`` runs the node with tags flowing;
the compiler's counters are written when the process ends.
"""

import sys
from pathlib import Path

import numpy as np

from quantacore.gateware.layouts.frames import Op
from quantacore.gateware.layouts.node import NODE_MAP
from quantacore.gateware.layouts.tagger import Edges
from quantacore.gateware.layouts.tags import FINE_PER_TICK
from quantacore.sim.golden import framing

__all__ = ["train"]

_TICKS = 200_000
_STEP = 16_384
#: Mean distance of the photons of a channel.
_PHOTON_TICKS = 125
_PULSE_SAMPLES = 2


def _requests(channels):
    place = {(one.block, one.register.name): one.address for one in NODE_MAP.placed()}
    bodies = ((Op.SYNC, 0, (1,)),
              (Op.WRITE, place["tagger", "edges"], [Edges.RISING.value] * channels),
              (Op.WRITE, place["tagger", "control"], [1]),
              (Op.CREDIT, 1, (0, 1 << 30, 0)))
    return [framing.encode(framing.Frame(session=1, seq=seq, op=op.value, argument=argument,
                                         payload=tuple(payload)))
            for seq, (op, argument, payload) in enumerate(bodies)]


def train(library, channels):
    """Run ``library`` (as :meth:`.build.Library.load` returns it) with tags on all channels.

    Returns
    -------
    int
        Bytes that the node sent.
    """
    rng = np.random.default_rng(1)
    handle = library.qc_create()
    library.qc_line(handle, 1 << 24, 0, 0)
    for k in range(channels):
        gaps = rng.exponential(_PHOTON_TICKS * FINE_PER_TICK, 2 * _TICKS // _PHOTON_TICKS)
        times = np.cumsum(gaps).astype(np.int64)
        library.qc_input(handle, k, 0, _PULSE_SAMPLES)
        library.qc_feed(handle, k, times.ctypes.data, len(times), np.iinfo(np.int64).max)
    start = b"".join(_requests(channels))
    library.qc_send(handle, start, len(start))
    seq, received = len(_requests(channels)), bytearray()
    for end in range(_STEP, _TICKS, _STEP):
        library.qc_advance(handle, end, 0, 0, 0)
        # Records are sent in order and none gets lost here: all that has been sent is taken.
        acknowledged = _records(library, handle, received)
        data = framing.encode(framing.Frame(
            session=1, seq=seq, op=Op.CREDIT.value, argument=1,
            payload=(acknowledged, acknowledged + (1 << 30), 0)))
        library.qc_send(handle, data, len(data))
        seq += 1
    sent = library.qc_statistic(handle, 1)
    library.qc_destroy(handle)
    return sent


def _records(library, handle, received):
    count = library.qc_available(handle)
    buffer = np.empty(count, dtype=np.uint8)
    library.qc_receive(handle, buffer.ctypes.data, count)
    received += buffer.tobytes()
    end = 0
    for text in bytes(received).split(b"\0")[:-1]:
        frame = framing.decode(text) if text else None
        if isinstance(frame, framing.Frame) and frame.op == Op.STREAM.value:
            index, records = framing.stream_records(frame)
            end = index + len(records)
    return end


if __name__ == "__main__":
    from quantacore.sim.node.build import Library

    path, channels = sys.argv[1:]
    train(Library(path=Path(path), info={}, cached=False).load(), int(channels))
