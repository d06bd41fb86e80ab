"""Messages between nodes over a few lines, with a check."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.layouts.peer import (
    CHECK_BITS,
    CHECK_INITIAL,
    CHECK_POLYNOMIAL,
    MESSAGE_BITS,
    PEER_LANES,
    PeerMessage,
    message_words,
)

__all__ = ["PeerLines", "PeerPort"]

_REFLECTED = int(f"{CHECK_POLYNOMIAL:0{CHECK_BITS}b}"[::-1], 2)


class PeerLines(wiring.Signature):
    """The lines of a port, seen from the node: ``data_o``, ``valid_o``, ``data_i``, ``valid_i``.

    ``valid`` is high for a message's :func:`~quantacore.gateware.layouts.peer.message_words` ticks
    and low for at least one after it.

    Parameters
    ----------
    lanes : int
        1, 4 or 8.
    """

    def __init__(self, lanes):
        if lanes not in PEER_LANES:
            raise ValueError(f"Lanes of a peer's port must be 1, 4 or 8, not {lanes!r}")
        self.lanes = lanes
        super().__init__({"data_o": Out(lanes), "valid_o": Out(1),
                          "data_i": In(lanes), "valid_i": In(1)})

    def __eq__(self, other):
        return isinstance(other, PeerLines) and self.lanes == other.lanes


def _checked(check, bits):
    """The check's register after further bits."""
    for bit in bits:
        check = (check >> 1) ^ Mux(check[0] ^ bit, C(_REFLECTED, CHECK_BITS), 0)
    return check[:CHECK_BITS]


class PeerPort(wiring.Component):
    """Sends and receives messages.

    A message given with ``send`` in tick a is on the lines in ticks a + 2 to a + 1 +
    ``message_words``; the next may follow a tick later. A message whose first word is on the lines
    in tick b is given out in tick b + ``message_words`` + 2, one tick long, if its check is right;
    nothing waits for it.
    ``bad`` is high for one tick for each that is wrong, too short or too long; what is too long
    has been given out if it began right.

    Parameters
    ----------
    lanes : int
        1, 4 or 8.

    Members
    -------
    lines : PeerLines
    send : In(1), message : In(PeerMessage)
        Only if ``idle``.
    idle : Out(1)
    o : Out(stream of PeerMessage), always ready
    bad : Out(1)
    """

    def __init__(self, *, lanes):
        lines = PeerLines(lanes)
        self.lanes = lanes
        super().__init__({
            "lines": Out(lines), "send": In(1), "message": In(PeerMessage),
            "idle": Out(1),
            "o": Out(stream.Signature(PeerMessage, always_ready=True)), "bad": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, words = self.lanes, message_words(self.lanes)
        data_words = MESSAGE_BITS // lanes

        # To the lines.
        shift, check, count = Signal(MESSAGE_BITS), Signal(CHECK_BITS), Signal(range(words + 1))
        sending, in_check = Signal(), Signal()
        m.d.comb += self.idle.eq(~sending)
        m.d.sync += self.lines.valid_o.eq(sending)
        with m.If(~sending):
            m.d.sync += [
                sending.eq(self.send), shift.eq(self.message), check.eq(CHECK_INITIAL),
                count.eq(0), in_check.eq(0), self.lines.data_o.eq(0),
            ]
        with m.Else():
            m.d.sync += [shift.eq(shift >> lanes), count.eq(count + 1)]
            with m.If(in_check):
                m.d.sync += [self.lines.data_o.eq(check[:lanes]), check.eq(check >> lanes)]
            with m.Else():
                m.d.sync += [self.lines.data_o.eq(shift[:lanes]),
                             check.eq(_checked(check, shift[:lanes]))]
            with m.If(count == data_words - 1):
                m.d.sync += in_check.eq(1)
            with m.If(count == words - 1):
                m.d.sync += sending.eq(0)

        # From the lines.
        word, valid = Signal(lanes), Signal()
        m.d.sync += [word.eq(self.lines.data_i), valid.eq(self.lines.valid_i)]
        got, left = Signal(MESSAGE_BITS + CHECK_BITS), Signal(range(words + 1), init=words)
        sum_, whole, over = Signal(CHECK_BITS, init=CHECK_INITIAL), Signal(), Signal()
        # `over`: a message ended and its gap is due.
        m.d.sync += [whole.eq(0), self.bad.eq(0), self.o.valid.eq(0)]
        with m.If(~valid):
            m.d.sync += [left.eq(words), sum_.eq(CHECK_INITIAL), over.eq(0),
                         self.bad.eq((left != words) & ~over)]
        with m.Elif(over):
            m.d.sync += self.bad.eq(left == 0)
            m.d.sync += left.eq(1)
        with m.Else():
            m.d.sync += [
                got.eq(Cat(got, word)[lanes:]), sum_.eq(_checked(sum_, word)), left.eq(left - 1),
                over.eq(left == 1), whole.eq(left == 1),
            ]
        with m.If(whole):
            m.d.sync += [self.o.valid.eq(sum_ == 0), self.o.payload.eq(got[:MESSAGE_BITS])]
            with m.If(sum_ != 0):
                m.d.sync += self.bad.eq(1)
        return m
