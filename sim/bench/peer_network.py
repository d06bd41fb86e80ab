"""Nodes that make attempts together, over lines that delay, damage and lose what is sent."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature
from quantacore.gateware.herald.attempts import AttemptController
from quantacore.gateware.herald.peer_port import PeerLines
from quantacore.gateware.herald.peers import Peers
from quantacore.gateware.layouts.herald import (
    VERDICT_LATENCY,
    HeraldCodes,
    HeraldControl,
    HeraldStatus,
    Outcome,
    Role,
)
from quantacore.gateware.layouts.instructions import ArmWord, Op

__all__ = ["FAILED_CODE", "REFUSED_CODE", "VOID_CODE", "Seen", "PeerNetwork"]

#: What the nodes' programs are told of attempts that were no success; successes have codes below.
FAILED_CODE, REFUSED_CODE, VOID_CODE = 13, 14, 15


class Seen(data.Struct):
    """What happens in a node in a tick."""

    #: An attempt began: triggered, or its trigger came.
    go: 1
    #: Its windows were opened.
    ran: 1
    #: It ended a tick ago.
    ended: 1
    outcome: Outcome
    #: The program was told something.
    told: 1
    code: 4
    #: It was told something, and had not asked.
    stray: 1
    #: An ``ARM`` comes into the controller.
    arm: 1
    #: A session with a peer ended, or began.
    closed: 1
    opened: 1
    #: Number of the last attempt; with ``go`` that before it.
    number: 24


class _Line(wiring.Component):
    """One direction of a line: ``delay`` ticks, 0 to 8190."""

    def __init__(self, width):
        self.width = width
        super().__init__({"i": In(width), "o": Out(width), "delay": In(13), "flip": In(width),
                          "cut": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=self.width, depth=1 << 13, init=[])
        write = store.write_port()
        read = store.read_port(transparent_for=(write,))
        at, out = Signal(13), Signal(self.width)
        m.d.sync += at.eq(at + 1)
        m.d.comb += [
            write.addr.eq(at), write.data.eq(self.i), write.en.eq(1),
            read.addr.eq(at + 1 - self.delay), read.en.eq(1),
            out.eq(Mux(self.delay == 0, self.i, read.data)),
            self.o.eq(Mux(self.cut, 0, out ^ self.flip)),
        ]
        return m


class _Node(wiring.Component):
    """A controller and its peers, with a program that arms over and over and a path that decides
    what it is told to."""

    def __init__(self, *, role, lanes, ports):
        self.role = role
        self.controller = AttemptController(record_depth=2)
        self.peers = Peers(lanes=lanes, ports=ports)
        super().__init__({
            "csr": In(CsrSignature(self.peers.address_width)),
            "lines": Out(PeerLines(lanes)).array(ports),
            "tick": In(64), "run": In(1), "patience": In(16), "gap": In(16), "window": In(16),
            "outcome": In(Outcome), "code": In(4), "settling": In(1), "seen": Out(Seen),
            "status": Out(HeraldStatus), "attempts": Out(32), "ended": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.peers = peers = self.peers
        wiring.connect(m, controller.peers, peers.attempts)
        wiring.connect(m, wiring.flipped(self.csr), peers.csr)
        for i in range(peers.ports):
            wiring.connect(m, wiring.flipped(self.lines[i]), peers.lines[i])
        m.d.comb += [
            controller.control.eq(HeraldControl.const({"enable": 1, "role": self.role})),
            controller.codes.eq(HeraldCodes.const({
                "refused": REFUSED_CODE, "void": VOID_CODE, "failed": FAILED_CODE,
                "give_refused": 1, "give_void": 1, "give_failed": 1})),
            controller.saturation_gate.eq(1000), controller.records.ready.eq(1),
            controller.sequencer_running.eq(1), controller.tick.eq(self.tick),
            controller.settling.eq(self.settling), peers.tick.eq(self.tick),
            peers.role.eq(self.role),
        ]

        # The path.
        left, busy = Signal(16), Signal()
        with m.If(controller.start):
            m.d.sync += [busy.eq(1), left.eq(self.window + VERDICT_LATENCY - 1)]
        with m.Elif(controller.abort_path | controller.decided):
            m.d.sync += busy.eq(0)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            controller.decided.eq(busy & (left == 0)), controller.outcome.eq(self.outcome),
            controller.code.eq(self.code), controller.missing.eq(self.outcome == Outcome.VOID),
        ]

        # The program: arm, wait for a verdict but not for ever, and again after a while.
        waited, asked, arm = Signal(16), Signal(), Signal()
        m.d.comb += [
            arm.eq(self.run & ~asked & (waited == 0)),
            controller.commands.valid.eq(arm),
            controller.commands.payload.word.eq(ArmWord.const({"op": Op.ARM, "windows": 1})),
        ]
        with m.If(arm):
            m.d.sync += [asked.eq(1), waited.eq(self.patience)]
        with m.Elif(asked & (controller.verdict_valid | (waited == 0))):
            m.d.sync += [asked.eq(0), waited.eq(self.gap)]
        with m.Elif(waited != 0):
            m.d.sync += waited.eq(waited - 1)

        link, was_up = controller.peers, Signal()
        m.d.sync += was_up.eq(link.up)
        seen = self.seen
        m.d.comb += [
            seen.go.eq(link.go & link.armed), seen.ran.eq(link.ran), seen.ended.eq(link.ended),
            seen.outcome.eq(link.outcome), seen.told.eq(controller.verdict_valid),
            seen.code.eq(controller.verdict), seen.arm.eq(arm),
            seen.stray.eq(controller.verdict_valid & ~asked),
            seen.closed.eq(was_up & ~link.up), seen.opened.eq(link.up & ~was_up),
            seen.number.eq(controller.attempt), self.status.eq(controller.status),
            self.attempts.eq(controller.attempts),
            self.ended.eq(controller.succeeded + controller.failed + controller.void_reference
                          + controller.void_aborted + controller.void_route
                          + controller.void_peer),
        ]
        return m


class PeerNetwork(wiring.Component):
    """A station, node 0, and its followers, from a port of the station to port 0 of each.

    Parameters
    ----------
    followers : int
        1 or 2.
    lanes : int

    Members
    -------
    node_reset : In(1).array(nodes)
        Resets a node alone, with its registers; lines keep what is on them.
    csr : In(CsrSignature).array(nodes)
        Registers of block ``peers``.
    run, patience, gap : In().array(nodes)
        The program arms; waits so long for a verdict; and so long after one.
    window, outcome, code, settling : In().array(nodes)
        The path decides so many ticks after the start, and what.
    delay : In(13).array(followers, 2)
        Of the line to each follower, and from it.
    flip, cut : In().array(followers, 2)
        Bits that are turned over, valid last; nothing comes through.
    seen : Out(Seen).array(nodes)
    eventful : Out(1)
        Something is to be seen.
    status, attempts, ended : of each node
    """

    def __init__(self, *, followers, lanes):
        self.followers = followers
        self.lanes = lanes
        self._nodes = [_Node(role=Role.STATION, lanes=lanes, ports=followers)]
        self._nodes += [_Node(role=Role.FOLLOWER, lanes=lanes, ports=1) for _ in range(followers)]
        nodes = len(self._nodes)
        width = self._nodes[0].peers.address_width
        super().__init__({
            "node_reset": In(1).array(nodes), "csr": In(CsrSignature(width)).array(nodes),
            "run": In(1).array(nodes), "patience": In(16).array(nodes), "gap": In(16).array(nodes),
            "window": In(16).array(nodes), "outcome": In(Outcome).array(nodes),
            "code": In(4).array(nodes), "settling": In(1).array(nodes),
            "delay": In(13).array(followers, 2), "flip": In(lanes + 1).array(followers, 2),
            "cut": In(1).array(followers, 2),
            "seen": Out(Seen).array(nodes), "eventful": Out(1),
            "status": Out(HeraldStatus).array(nodes), "attempts": Out(32).array(nodes),
            "ended": Out(32).array(nodes),
        })

    def elaborate(self, platform):
        m = Module()
        tick = Signal(64)
        m.d.sync += tick.eq(tick + 1)
        for i, node in enumerate(self._nodes):
            m.submodules[f"node_{i}"] = ResetInserter(self.node_reset[i])(node)
            wiring.connect(m, wiring.flipped(self.csr[i]), node.csr)
            m.d.comb += node.tick.eq(tick)
            for name in ("run", "patience", "gap", "window", "outcome", "code", "settling"):
                m.d.comb += getattr(node, name).eq(getattr(self, name)[i])
            for name in ("seen", "status", "attempts", "ended"):
                m.d.comb += getattr(self, name)[i].eq(getattr(node, name))
        flags = Seen.const({"go": 1, "ran": 1, "ended": 1, "told": 1, "stray": 1, "arm": 1,
                            "closed": 1, "opened": 1}).as_bits()
        m.d.comb += self.eventful.eq(sum((seen.as_value() & flags) != 0 for seen in self.seen) != 0)
        station = self._nodes[0]
        for i in range(self.followers):
            ends = station.lines[i], self._nodes[i + 1].lines[0]
            for way in range(2):
                source, sink = ends if way == 0 else ends[::-1]
                line = _Line(self.lanes + 1)
                m.submodules[f"line_{i}_{way}"] = line
                m.d.comb += [
                    line.i.eq(Cat(source.data_o, source.valid_o)),
                    Cat(sink.data_i, sink.valid_i).eq(line.o),
                    line.delay.eq(self.delay[i][way]), line.flip.eq(self.flip[i][way]),
                    line.cut.eq(self.cut[i][way]),
                ]
        return m
