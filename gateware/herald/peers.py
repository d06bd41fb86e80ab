"""Attempts together with other nodes: the station's and the follower's side."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quantacore.gateware.csr import CsrSignature, RegisterBank
from quantacore.gateware.herald.attempts import PeersSignature
from quantacore.gateware.herald.peer_link import PeerLink
from quantacore.gateware.herald.peer_port import PeerLines, PeerPort
from quantacore.gateware.layouts.herald import Outcome, Role
from quantacore.gateware.layouts.peer import (
    PEER_NUMBER_BITS,
    PEER_PORTS,
    PEERS,
    PeerFlags,
    PeerKind,
    PeerMessage,
    message_ticks,
)
from quantacore.gateware.logic import any_of
from quantacore.gateware.telemetry.sticky import StickyFlags

__all__ = ["Station", "Follower", "Peers"]

_LINK = wiring.Signature({
    "up": In(1), "opened": In(1), "idle": In(1), "heard_valid": In(1), "heard": In(PeerMessage),
    "say": Out(PeerMessage), "news": Out(1), "trigger": Out(1), "hold": Out(1),
})


class Station(wiring.Component):
    """Triggers attempts when all followers are ready, and knows which of them made each.

    A follower's last report stands until it sends another or an attempt is triggered. An attempt
    is triggered only if each follower has reported that it waits, and that it knows of all
    attempts before; so a follower is never more than one attempt behind.

    Parameters
    ----------
    ports : int

    Members
    -------
    enable : In(ports)
        Followers.
    active : In(1)
        This node is a station.
    start_delay : In(16)
    attempts : PeersSignature, seen from here
    links : array of links
    ready, ran : Out(ports)
        By the last report.
    triggered : Out(1)
        High in the tick of a trigger.
    """

    def __init__(self, *, ports=PEER_PORTS):
        self.ports = ports
        super().__init__({
            "enable": In(ports), "active": In(1), "start_delay": In(16),
            "attempts": In(PeersSignature()), "links": Out(_LINK).array(ports),
            "ready": Out(ports), "ran": Out(ports), "triggered": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        attempts, ports = self.attempts, range(self.ports)
        number, next_number = attempts.attempt[:PEER_NUMBER_BITS], Signal(PEER_NUMBER_BITS)
        m.d.sync += next_number.eq(number + 1)

        # Reports, of which only those about the last attempt count.
        ready, ran, missed = (Signal(self.ports, name=name) for name in ("is_ready", "has_run",
                                                                         "has_missed"))
        up = Cat(self.links[i].up for i in ports)
        fire, wants = Signal(), Signal()
        for i in ports:
            heard = self.links[i].heard
            with m.If(self.links[i].heard_valid & (heard.kind == PeerKind.REPORT)):
                mine = heard.number == number
                m.d.sync += [ready[i].eq(heard.ready & mine), ran[i].eq(heard.ran & mine),
                             missed[i].eq(~heard.ran & mine)]
            with m.If(fire | ~self.links[i].up):
                m.d.sync += [ready[i].eq(0), ran[i].eq(0), missed[i].eq(0)]

        # A trigger goes out on all lines in one tick.
        all_ready, all_up, all_ran = Signal(), Signal(), Signal()
        hold, fresh = Signal(), Signal(2)
        idle = Cat(self.links[i].idle for i in ports)
        m.d.comb += [
            all_up.eq((up | ~self.enable).all()), all_ready.eq((ready | ~self.enable).all()),
            all_ran.eq((ran | ~self.enable).all()),
            wants.eq(attempts.armed & self.active & all_up & all_ready & ~fresh.any()),
            fire.eq(wants & hold & (idle | ~self.enable).all()),
        ]
        # `next_number` follows the number a tick later.
        m.d.sync += [hold.eq(wants & ~fire), fresh.eq(Cat(attempts.restart | fire, fresh))]
        m.d.comb += [self.triggered.eq(fire), self.ready.eq(ready), self.ran.eq(ran)]

        # The windows' start.
        left, counting = Signal(17), Signal()
        with m.If(fire):
            m.d.sync += [left.eq(self.start_delay), counting.eq(1)]
        with m.Elif(counting):
            m.d.sync += [left.eq(left - 1), counting.eq(left != 0)]
        m.d.comb += attempts.start.eq(counting & (left == 0))

        # The attempt, as it is told to followers: open from the trigger to its end.
        done, outcome, code = Signal(init=1), Signal(Outcome, init=Outcome.VOID), Signal(4)
        with m.If(fire):
            m.d.sync += done.eq(0)
        with m.Elif(attempts.ended):
            m.d.sync += [done.eq(1), outcome.eq(attempts.outcome), code.eq(attempts.code)]
        news = Signal()
        m.d.sync += news.eq(attempts.ended)
        m.d.comb += [
            attempts.up.eq(all_up), attempts.go.eq(fire),
            attempts.confirmed.eq(all_ran & all_up),
            attempts.void.eq(~all_up | (missed & self.enable).any()),
        ]
        for i in ports:
            say = self.links[i].say
            m.d.comb += [
                self.links[i].hold.eq(hold), self.links[i].news.eq(news),
                self.links[i].trigger.eq(fire & self.enable[i]),
                say.kind.eq(Mux(hold, PeerKind.TRIGGER, PeerKind.VERDICT)),
                say.number.eq(Mux(hold, next_number, number)),
                say.done.eq(done & ~hold), say.outcome.eq(outcome), say.code.eq(code),
            ]
        return m


class Follower(wiring.Component):
    """Makes the attempts that the station triggers, and owns up to those that it missed.

    What it reports of an attempt is said when it is certain: that its windows were started, or that
    they will not be.

    Members
    -------
    active : In(1)
        This node is a follower.
    start_delay : In(16)
    attempts : PeersSignature, seen from here
    link : a link
    number : Out(24), based : Out(1)
        The last attempt that it knows of, if it knows of any.
    started, missed : Out(1)
        High for one tick for each attempt that the station triggered: one or the other.
    wrong : Out(1)
        The station spoke of an attempt that can't be: the session is no good.
    """

    active: In(1)
    start_delay: In(16)
    attempts: In(PeersSignature())
    link: Out(_LINK)
    number: Out(PEER_NUMBER_BITS)
    based: Out(1)
    started: Out(1)
    missed: Out(1)
    wrong: Out(1)

    def elaborate(self, platform):
        m = Module()
        attempts, link = self.attempts, self.link
        # The last attempt that is known of, whether any is, and what is reported.
        number, based, following = self.number, self.based, Signal(PEER_NUMBER_BITS)
        told, ran = Signal(PEER_NUMBER_BITS), Signal()
        m.d.sync += following.eq(number + 1)

        # A message, compared with the last attempt in the tick in which it is heard.
        heard, came, is_next, is_last = Signal(PeerMessage), Signal(), Signal(), Signal()
        m.d.sync += [
            heard.eq(link.heard), came.eq(link.heard_valid & link.up & self.active),
            is_next.eq(link.heard.number == following), is_last.eq(link.heard.number == number),
        ]
        here = came & link.up
        trigger = here & (heard.kind == PeerKind.TRIGGER) & based & is_next
        speaks = (heard.kind == PeerKind.TRIGGER) | (heard.kind == PeerKind.VERDICT)
        verdict = here & (heard.kind == PeerKind.VERDICT)
        go, told_so, first = Signal(), Signal(), Signal()
        m.d.comb += [
            go.eq(trigger & attempts.armed), first.eq(verdict & ~based),
            self.started.eq(go),
            self.missed.eq((trigger & ~attempts.armed) | (verdict & based & is_next)),
            attempts.go.eq(go), attempts.number.eq(heard.number),
            told_so.eq(verdict & based & is_last & heard.done & attempts.in_progress),
            attempts.verdict.eq(told_so), attempts.verdict_outcome.eq(heard.outcome),
            attempts.verdict_code.eq(heard.code),
            self.wrong.eq(here & speaks & based & ~is_next & ~is_last),
            attempts.up.eq(link.up),
            attempts.void.eq(~link.up | (self.missed & attempts.in_progress)),
        ]
        leads = Signal()
        with m.If(go | self.missed | first):
            m.d.sync += number.eq(heard.number)
        with m.If(first):
            m.d.sync += based.eq(1)
        with m.If(~link.up):
            m.d.sync += based.eq(0)

        # What is reported: `leads` is the time in which the attempt may still come to nothing.
        by_verdict, mine = Signal(), Signal()
        m.d.sync += by_verdict.eq(told_so)
        with m.If(go):
            m.d.sync += [leads.eq(1), mine.eq(1)]
        with m.Elif(attempts.ran & leads):
            m.d.sync += [leads.eq(0), told.eq(number), ran.eq(1)]
        with m.Elif(attempts.ended & mine):
            m.d.sync += [leads.eq(0), told.eq(number), mine.eq(0)]
            with m.If(leads | ~by_verdict):
                m.d.sync += ran.eq(0)
        with m.If(self.missed | first | ~link.up):
            m.d.sync += [told.eq(heard.number), ran.eq(0), leads.eq(0), mine.eq(0)]

        # The windows' start.
        left, counting = Signal(17), Signal()
        with m.If(go):
            m.d.sync += [left.eq(self.start_delay), counting.eq(1)]
        with m.Elif(counting):
            m.d.sync += [left.eq(left - 1), counting.eq(left != 0)]
        m.d.comb += attempts.start.eq(counting & (left == 0))

        say, before, was_armed = link.say, Signal(2 + PEER_NUMBER_BITS), Signal()
        m.d.sync += was_armed.eq(attempts.armed & based & ~go)
        m.d.comb += [
            say.kind.eq(PeerKind.REPORT), say.number.eq(told), say.ran.eq(ran),
            say.ready.eq(was_armed & ~attempts.in_progress), say.done.eq(~attempts.in_progress),
        ]
        now = Cat(told, ran, say.ready)
        m.d.sync += before.eq(now)
        m.d.comb += link.news.eq((now != before) & based)
        return m


class Peers(wiring.Component):
    """The peers of a node, with their registers.

    ``docs/peers.md`` has the protocol.

    Parameters
    ----------
    lanes : int
        Data lines of a port: 1, 4 or 8.
    ports : int
        Ports, 1 or 2.

    Members
    -------
    csr : In(CsrSignature)
        Registers of block ``peers``.
    tick : In(64)
    role : In(Role)
        Constant while an attempt is armed or in progress.
    attempts : PeersSignature, seen from here
        To ``AttemptController.peers``.
    lines : Out(PeerLines).array(ports)
    lost : Out(1)
        High for one tick when a session ended because nothing came.
    """

    def __init__(self, *, lanes=8, ports=PEER_PORTS):
        if not isinstance(ports, int):
            raise TypeError(f"Number of peers' ports must be an integer, not {ports!r}")
        if not 1 <= ports <= PEER_PORTS:
            raise ValueError(f"Number of peers' ports must be 1 to {PEER_PORTS}, not {ports}")
        lines = PeerLines(lanes)
        self.lanes = lanes
        self.ports = ports
        self.bank = RegisterBank(PEERS)
        super().__init__({
            "csr": In(CsrSignature(self.address_width)), "tick": In(64), "role": In(Role),
            "attempts": In(PeersSignature()), "lines": Out(lines).array(ports), "lost": Out(1),
        })

    @property
    def address_width(self):
        """Bits of an address on ``csr``."""
        return self.bank.signature.members["bus"].signature.address_width

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        wiring.connect(m, wiring.flipped(self.csr), bank.bus)
        m.submodules.station = station = Station(ports=self.ports)
        m.submodules.follower = follower = Follower()
        flags = m.submodules.flags = StickyFlags(len(PeerFlags.as_shape().members))
        attempts, enable = self.attempts, bank.control.enable[:self.ports]
        follows, leads = Signal(), Signal()
        m.d.sync += [
            follows.eq(self.role == Role.FOLLOWER),
            leads.eq((self.role == Role.STATION) & enable.any()),
        ]
        m.d.comb += [
            station.active.eq(leads), station.enable.eq(enable),
            station.start_delay.eq(bank.start_delay), follower.active.eq(follows),
            follower.start_delay.eq(bank.start_delay),
        ]

        # One of the two roles speaks for the node.
        for name, member in attempts.signature.members.items():
            here = getattr(attempts, name)
            if member.flow is In:
                for side in (station, follower):
                    m.d.comb += getattr(side.attempts, name).eq(here)
            elif name != "shared":
                m.d.comb += Value.cast(here).eq(Mux(
                    follows, Value.cast(getattr(follower.attempts, name)),
                    Value.cast(getattr(station.attempts, name))))
        m.d.comb += attempts.shared.eq(follows | leads)
        with m.If(follows):
            m.d.comb += [attempts.up.eq(follower.attempts.up & enable[0]),
                         attempts.confirmed.eq(0)]

        # Links.
        action = bank.action
        clear, restart = Signal(), Signal()
        m.d.sync += [
            clear.eq(bank.action_written & action.clear),
            restart.eq((bank.action_written & action.restart) | follower.wrong),
        ]
        strobes = {name: [] for name in ("lost", "restarted", "check")}
        for i in range(self.ports):
            port = PeerPort(lanes=self.lanes)
            link = PeerLink(overhead=message_ticks(self.lanes))
            m.submodules[f"port_{i}"], m.submodules[f"link_{i}"] = port, link
            wiring.connect(m, wiring.flipped(self.lines[i]), port.lines)
            m.d.comb += [
                port.send.eq(link.send), port.message.eq(link.message), link.idle.eq(port.idle),
                link.rx.valid.eq(port.o.valid), link.rx.payload.eq(port.o.payload),
                link.enable.eq(enable[i]), link.restart.eq(restart | (attempts.restart & leads)),
                link.margin.eq(bank.margin), link.retry.eq(bank.retry), link.quiet.eq(bank.quiet),
            ]
            side = station.links[i]
            m.d.comb += [link.say.eq(side.say), link.news.eq(side.news & leads),
                         link.trigger.eq(side.trigger), link.hold.eq(side.hold)]
            sides = [side]
            if i == 0:
                sides.append(follower.link)
                with m.If(follows):
                    m.d.comb += [link.say.eq(follower.link.say),
                                 link.news.eq(follower.link.news)]
            for side in sides:
                m.d.comb += [
                    side.up.eq(link.up), side.opened.eq(link.opened), side.idle.eq(port.idle),
                    side.heard_valid.eq(link.heard.valid), side.heard.eq(link.heard.payload),
                ]
            status = bank.status[i]
            m.d.comb += [
                status.up.eq(link.up), status.quiet.eq(link.silent), status.own.eq(link.own),
                status.other.eq(link.other), status.ready.eq(station.ready[i]),
                status.ran.eq(station.ran[i]), bank.round_trip[i].eq(link.round_trip),
            ]
            counted = {"sent": link.send, "received": port.o.valid, "check_errors": port.bad,
                       "foreign": link.foreign, "repeats": link.repeated,
                       "timeouts": link.timed_out}
            for name, strobe in counted.items():
                add = Signal(name=f"add_{name}_{i}")
                count = Signal(32, name=f"{name}_{i}")
                m.d.sync += [add.eq(strobe), count.eq(count + add)]
                with m.If(clear):
                    m.d.sync += count.eq(0)
                m.d.comb += getattr(bank, name)[i].eq(count)
            triggers = Signal(32, name=f"session_triggers_{i}")
            with m.If(link.opened):
                m.d.sync += triggers.eq(0)
            with m.Elif(station.triggered & enable[i]):
                m.d.sync += triggers.eq(triggers + 1)
            m.d.comb += bank.session_triggers[i].eq(triggers)
            # The extremes; an impossible pair stands for none.
            least = Signal(24, name=f"least_{i}", init=(1 << 24) - 1)
            most = Signal(24, name=f"most_{i}")
            below, above, fresh = Signal(), Signal(), Signal()
            m.d.sync += [below.eq(link.round_trip < least), above.eq(link.round_trip > most),
                         fresh.eq(link.measured)]
            with m.If(clear):
                m.d.sync += [least.eq((1 << 24) - 1), most.eq(0)]
            with m.Elif(fresh):
                with m.If(below):
                    m.d.sync += least.eq(link.round_trip)
                with m.If(above):
                    m.d.sync += most.eq(link.round_trip)
            m.d.comb += [bank.round_trip_min[i].eq(least), bank.round_trip_max[i].eq(most)]
            strobes["lost"].append(link.timed_out)
            strobes["restarted"].append(link.restarted)
            strobes["check"].append(port.bad)

        opened = Signal()
        m.d.comb += opened.eq(follower.link.opened)
        for name, strobe in (("started", follower.started & follows),
                             ("missed", follower.missed & follows),
                             ("triggers", station.triggered)):
            add, count = Signal(name=f"add_{name}"), Signal(48, name=name)
            m.d.sync += [add.eq(strobe), count.eq(count + add)]
            with m.If(clear):
                m.d.sync += count.eq(0)
            m.d.comb += getattr(bank, name).eq(count)
            if name != "triggers":
                count = Signal(32, name=f"session_{name}")
                with m.If(opened):
                    m.d.sync += count.eq(0)
                with m.Elif(strobe):
                    m.d.sync += count.eq(count + 1)
                m.d.comb += getattr(bank, f"session_{name}").eq(count)

        m.d.comb += [bank.sizes.ports.eq(self.ports), bank.sizes.lanes.eq(self.lanes),
                     self.lost.eq(any_of(strobes["lost"]))]
        raised = Signal(PeerFlags)
        m.d.sync += [getattr(raised, name).eq(any_of(each)) for name, each in strobes.items()]
        m.d.sync += raised.missed.eq(follower.missed & follows)
        m.d.comb += [flags.now.eq(self.tick), flags.events.eq(raised),
                     flags.clear.eq(bank.flags_clear), bank.flags.eq(flags.flags)]
        for i in range(flags.number):
            m.d.comb += [bank.flag_counts[i].eq(flags.counts[i]),
                         bank.flag_times[i].eq(flags.times[i])]
        return m
