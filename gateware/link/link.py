"""The host link: bytes in, bytes out, a register bus, and a stream of records."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.layouts.export import map_crc
from quantacore.gateware.layouts.link import LINK, LinkFlags
from quantacore.gateware.link.executor import Executor
from quantacore.gateware.link.receiver import FrameReceiver
from quantacore.gateware.link.transmitter import Transmitter
from quantacore.gateware.link.window import RecordWindow
from quantacore.gateware.stream import connect_streams
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["Link"]


class Link(wiring.Component):
    """Frames to register traffic and back, sessions, retries, timed writes, and the tag stream.

    ``docs/link.md`` is the contract with the host. In clocks: ``rx`` takes one byte per clock
    while fewer than 4 frames wait; the answer to PING begins 75 clocks after the last byte of the
    request; ``tx`` gives up to one byte per clock. A line that takes nothing from ``tx`` stops the
    requests once the answers fill their slots, and then ``rx``; timed writes go on, and records
    are kept until the ring is full, when ``records`` is not ready.

    Reset forgets the session, all answers and all records, whatever was going on; the first zero
    byte puts the receiver in step.

    Parameters
    ----------
    buffer_depth : int
        Records kept until the host has acknowledged them: a power of two, 16 to 32768.

    Members
    -------
    rx, tx : stream of bytes
        The line.
    bus : Out(CsrSignature(16))
        Master of the register bus.
    csr : In(CsrSignature)
        The link's own registers.
    tick : In(64)
        Tick counter. A timed write's strobe is on ``bus`` while this reads the asked tick; a
        register behind a ``CsrDecoder`` has its new value 3 ticks later.
    records : In(stream of 64 bits)
        Records for the host; ready while there is room.
    records_level : Out(16)
        Records held, those sent and not acknowledged included.
    framing, overrun : In(1)
        Errors of the UART in front, for the flags of those names.
    """

    def __init__(self, *, buffer_depth):
        self._window = RecordWindow(depth=buffer_depth)
        self.buffer_depth = buffer_depth
        self.bank = RegisterBank(LINK)
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "bus": Out(CsrSignature(16)),
            "csr": In(self.bank.signature.members["bus"].signature.flip()),
            "tick": In(64),
            "records": In(stream.Signature(64)),
            "records_level": Out(16),
            "framing": In(1),
            "overrun": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.submodules.window = window = self._window
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.executor = executor = Executor(map_crc=map_crc())
        m.submodules.transmitter = transmitter = Transmitter(depth=self.buffer_depth)
        m.submodules.flags = flags = StickyFlags(Shape.cast(LinkFlags).width)

        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        wiring.connect(m, executor.bus, wiring.flipped(self.bus))
        connect_streams(m, wiring.flipped(self.rx), receiver.i)
        connect_streams(m, receiver.frames, executor.frames)
        connect_streams(m, executor.writes, transmitter.writes)
        connect_streams(m, executor.posts, transmitter.posts)
        connect_streams(m, executor.credit, window.credit)
        connect_streams(m, wiring.flipped(self.records), window.records)
        connect_streams(m, transmitter.o, wiring.flipped(self.tx))
        m.d.comb += [
            receiver.address.eq(executor.address),
            executor.data.eq(receiver.data),
            executor.busy.eq(transmitter.busy),
            executor.credit_done.eq(window.credit_done),
            executor.credit_ok.eq(window.credit_ok),
            executor.next.eq(window.next),
            executor.written.eq(window.written),
            executor.tick.eq(self.tick),
            executor.lease.eq(bank.lease),
            executor.lease_written.eq(bank.lease_written),
            transmitter.session.eq(executor.session),
            transmitter.number.eq(window.number),
            transmitter.next.eq(window.next),
            window.take.eq(transmitter.take),
            window.reading.eq(transmitter.reading),
            window.read_index.eq(transmitter.read_index),
            transmitter.read_data.eq(window.read_data),
            self.records_level.eq(window.level),
            bank.session.eq(executor.session),
            bank.timed_writes_pending.eq(executor.pending),
        ]

        # Every count is of a registered event, so that no counter hangs on a long path.
        events = executor.events
        moved = Signal(2)
        m.d.sync += moved.eq(Cat(self.rx.valid & self.rx.ready, self.tx.valid & self.tx.ready))
        sent = Signal()
        m.d.sync += sent.eq(transmitter.sent)
        for name, event in (
            ("frames_received", receiver.received), ("frames_bad", receiver.dropped),
            ("requests_done", events.done), ("requests_repeated", events.repeated),
            ("requests_refused", events.refused), ("frames_sent", sent),
            ("bytes_received", moved[0]), ("bytes_sent", moved[1]),
            ("timed_writes_done", events.timed_done),
        ):
            count = Signal(32, name=name)
            m.d.sync += count.eq(count + event)
            m.d.comb += getattr(bank, name).eq(count)

        raised = Signal(LinkFlags)
        m.d.comb += [
            raised.bad_frame.eq(receiver.dropped),
            raised.overrun.eq(self.overrun),
            raised.framing.eq(self.framing),
            raised.late_write.eq(events.late_write),
            raised.lease_expired.eq(events.lease_expired),
            raised.timed_refused.eq(events.timed_refused),
            flags.now.eq(self.tick),
            bank.flags.eq(flags.flags),
        ]
        # A clock later each, for the same reason as the counts.
        m.d.sync += [flags.events.eq(raised), flags.clear.eq(bank.flags_clear)]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
