"""Contracts of shared attempts, for any losses, delays, programs, and resets of either side."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from quantacore.gateware.herald.peer_link import PeerLink
from quantacore.gateware.herald.peers import Follower, Station
from quantacore.gateware.layouts.herald import Outcome
from quantacore.gateware.layouts.peer import PeerMessage
from quantacore.sim.bench.formal import prove_bounded

#: Bits of what only the contract knows of an attempt: its place among all that were triggered.
_GHOST = 3
#: The search begins in a session, and a session may end for want of messages at any time.
_IN_SESSION = ("setattr -set init 1'b1 w:link_*.up w:link_*.settled w:follower.based; "
               "setattr -set init 6'b000001 w:link_*.other; cutpoint w:link_*.late")
#: Ticks of the search: a success comes in 17, the follower has its verdict in 22.
DEPTH = 24
#: Ticks from one message to the next on a line, at least; on real lines there are more.
_SPACING = 3


class Promises(wiring.Component):
    """A station, a follower, and two lines that hold a message for any time, or lose it.

    A reset of a node is what comes after its silence: everything in it begins anew, but that no
    message of before is left, which is to say that its session has a number that is not in use.
    """

    arm: In(2)
    withdraw: In(2)
    end: In(1)
    abort: In(2)
    success: In(1)
    deliver: In(2)
    lose: In(2)
    reset: In(2)

    def elaborate(self, platform):
        m = Module()
        restart = self.reset
        resetting = [ResetInserter(restart[i]) for i in range(2)]
        station, follower = Station(ports=1), Follower()
        m.submodules.station = resetting[0](station)
        m.submodules.follower = resetting[1](follower)
        links = []
        for i in range(2):
            link = PeerLink(overhead=1)
            m.submodules[f"link_{i}"] = link
            links.append(link)
            m.d.comb += [link.enable.eq(1), link.quiet.eq(0), link.retry.eq(1),
                         link.margin.eq(1000), link.restart.eq(restart[i])]
        sides = station.links[0], follower.link
        for link, side in zip(links, sides, strict=True):
            m.d.comb += [
                side.up.eq(link.up), side.opened.eq(link.opened), side.idle.eq(link.idle),
                side.heard_valid.eq(link.heard.valid), side.heard.eq(link.heard.payload),
                link.say.eq(side.say), link.news.eq(side.news), link.trigger.eq(side.trigger),
                link.hold.eq(side.hold),
            ]
        m.d.comb += [station.enable.eq(1), station.active.eq(1), follower.active.eq(1)]

        # Programs and controllers.
        ghost = Signal(_GHOST)
        fired = station.triggered & ~restart[0]
        progress, number = [], Signal(32)
        for i, unit in enumerate((station, follower)):
            attempts = unit.attempts
            waits, runs = Signal(name=f"waits_{i}"), Signal(name=f"runs_{i}")
            m.d.comb += [attempts.armed.eq(waits & ~self.withdraw[i] & attempts.up & ~restart[i]),
                         attempts.in_progress.eq(runs)]
            ends, outcome = Signal(name=f"ends_{i}"), Signal(Outcome, name=f"outcome_{i}")
            m.d.comb += outcome.eq(Outcome.VOID)
            if i == 0:
                decided = attempts.confirmed & self.end
                with m.If(decided):
                    m.d.comb += outcome.eq(Mux(self.success, Outcome.SUCCESS, Outcome.FAILED))
                m.d.comb += ends.eq(runs & (decided | attempts.void | self.abort[i]))
            else:
                with m.If(attempts.verdict):
                    m.d.comb += outcome.eq(attempts.verdict_outcome)
                m.d.comb += ends.eq(runs & (attempts.verdict | attempts.void | self.abort[i]))
            m.d.comb += attempts.ran.eq(runs & attempts.start & ~ends)
            go = attempts.go & attempts.armed
            with m.If(go):
                m.d.sync += [waits.eq(0), runs.eq(1)]
                if i == 0:
                    m.d.sync += number.eq(number + 1)
            with m.Elif(ends):
                m.d.sync += runs.eq(0)
            with m.Elif(self.withdraw[i] | ~attempts.up):
                m.d.sync += waits.eq(0)
            with m.Elif(self.arm[i] & ~runs):
                m.d.sync += waits.eq(1)
            m.d.sync += [attempts.ended.eq(ends), attempts.outcome.eq(outcome)]
            with m.If(restart[i]):
                m.d.sync += [waits.eq(0), runs.eq(0), attempts.ended.eq(0)]
                if i == 0:
                    m.d.sync += number.eq(0)
            progress.append((runs, ends, outcome, go))
        m.d.comb += station.attempts.attempt.eq(number)
        with m.If(fired):
            m.d.sync += ghost.eq(ghost + 1)

        # Lines. Each message takes along, unseen, which attempt it speaks of.
        spoken = Signal(_GHOST)
        m.d.comb += spoken.eq(Mux(station.triggered, ghost + 1, ghost))
        told_1 = Signal(_GHOST)
        for way in range(2):
            source, sink = links[way], links[1 - way]
            held, full = Signal(PeerMessage, name=f"held_{way}"), Signal(name=f"full_{way}")
            tag, wait = Signal(_GHOST, name=f"tag_{way}"), Signal(range(_SPACING + 1))
            m.d.comb += [
                source.idle.eq(~full & (wait == 0)),
                sink.rx.valid.eq(full & self.deliver[way] & ~self.lose[way]),
                sink.rx.payload.eq(held),
            ]
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)
            with m.If(source.send & source.idle):
                m.d.sync += [held.eq(source.message), full.eq(1), tag.eq(spoken)]
            with m.Elif(full & (self.deliver[way] | self.lose[way])):
                m.d.sync += [full.eq(0), wait.eq(_SPACING)]
            if way == 0:
                m.d.sync += told_1.eq(tag)
        # As the follower's link and the follower take a tick each.
        told_2 = Signal(_GHOST)
        m.d.sync += told_2.eq(told_1)

        # Whose attempt it is that the follower makes, and the last whose windows it opened.
        mine, ran, any_ran = Signal(_GHOST), Signal(_GHOST), Signal()
        with m.If(progress[1][3]):
            m.d.sync += mine.eq(told_2)
        with m.If(follower.attempts.ran):
            m.d.sync += [ran.eq(mine), any_ran.eq(1)]
        same = Signal()
        m.d.comb += same.eq(links[0].up & links[1].up & (links[0].own == links[1].other)
                            & (links[1].own == links[0].other) & ~restart.any())
        # No verdict about another attempt.
        with m.If(progress[1][0] & follower.attempts.verdict & ~restart[1]):
            m.d.comb += Assert(told_2 == mine)
        # No success, and no failure, of an attempt that the follower did not make.
        with m.If(progress[0][1] & (progress[0][2] != Outcome.VOID) & ~restart[0]):
            m.d.comb += Assert(any_ran & (ran == ghost))
        # The accounts of a session.
        triggers, begun, missed = Signal(4), Signal(4), Signal(4)
        with m.If(links[0].opened):
            m.d.sync += triggers.eq(0)
        with m.Elif(fired):
            m.d.sync += triggers.eq(triggers + 1)
        with m.If(links[1].opened):
            m.d.sync += [begun.eq(0), missed.eq(0)]
        with m.Else():
            m.d.sync += [begun.eq(begun + (follower.started & ~restart[1])),
                         missed.eq(missed + (follower.missed & ~restart[1]))]
        last, last_known = Signal(24), Signal()
        m.d.comb += [last.eq(follower.number), last_known.eq(follower.based)]
        with m.If(same & last_known & ~links[0].opened & ~links[1].opened):
            with m.If(last == number[:24]):
                m.d.comb += Assert(triggers == (begun + missed)[:4])
            with m.Else():
                m.d.comb += [Assert((last + 1)[:24] == number[:24]),
                             Assert(triggers == (begun + missed + 1)[:4])]
        return m


def test_what_was_triggered_was_begun_or_missed_and_no_verdict_goes_astray():
    prove_bounded(Promises(), "peers_promises", depth=DEPTH, passes=_IN_SESSION)
