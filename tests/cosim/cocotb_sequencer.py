"""The sequencer's engine on Verilog against the golden model, program after program."""

import os
import random
import time

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout

from quantacore.gateware.layouts.instructions import (
    BRANCH_TICKS,
    BRH_ENTRIES,
    DATA_TICKS,
    LDT_TICKS,
    MUL_TICKS,
    PROGRAM_DEPTH,
    SHORT_LOOP,
    AluFunction,
    Condition,
    Fault,
    Op,
    Source,
    TriggerMode,
    least_dwell,
)
from quantacore.sim.bench.cosim import seed_from_environment
from quantacore.sim.bench.sequencer_equality import (
    BatchModel,
    batch_rows,
    show_command,
    unpack_results,
    unpack_trace,
)
from quantacore.sim.bench.sequencer_probe import RESULTS_SHOWN, RUNS, TRACE_DEPTH, TRACE_SHOWN
from quantacore.sim.bench.sequencer_random import (
    FAULTS,
    Batch,
    RandomRun,
    random_batch,
    random_program,
    random_world,
)
from quantacore.sim.golden.sequencer import encode

PERIOD_NS = 8
#: Random programs and ticks to run at least.
PROGRAMS = int(os.environ.get("QC_PROGRAMS", 2000))
TICKS = int(os.environ.get("QC_TICKS", 0))


class Bench:
    """A probe and the model beside it."""

    def __init__(self, dut):
        self.dut = dut
        self.golden = BatchModel()

    async def reset(self):
        dut = self.dut
        for name in ("tick_load", "row_write", "go", "clear", "results_address", "kept_address",
                     "data_index"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        self.golden = BatchModel()

    async def set_tick(self, tick):
        self.dut.tick_value.value = tick
        self.dut.tick_load.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.tick_load.value = 0

    async def load(self, batch):
        dut = self.dut
        dut.row_write.value = 1
        for target, address, row in batch_rows(batch):
            dut.row_target.value = target.value
            dut.row_address.value = address
            dut.row.value = row
            await FallingEdge(dut.clk)
        dut.row_write.value = 0

    async def begin(self, count):
        self.dut.count.value = count
        self.dut.go.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.go.value = 0

    async def results(self, count):
        found = []
        for address in range(-(-count // RESULTS_SHOWN)):
            self.dut.results_address.value = address
            await Timer(1, "ns")
            found += unpack_results(int(self.dut.results.value),
                                    min(RESULTS_SHOWN, count - RESULTS_SHOWN * address))
        await FallingEdge(self.dut.clk)
        return found

    async def trace(self):
        count = min(int(self.dut.commands.value), TRACE_DEPTH)
        found = []
        for address in range(-(-count // TRACE_SHOWN)):
            self.dut.kept_address.value = address
            await Timer(1, "ns")
            found += unpack_trace(int(self.dut.kept.value),
                                  min(TRACE_SHOWN, count - TRACE_SHOWN * address))
        await FallingEdge(self.dut.clk)
        return found

    async def run(self, batch, *, trace=False):
        """Run a batch, and compare: every command with its tick, and how every run ended."""
        await self.load(batch)
        await self.begin(len(batch.runs))
        await with_timeout(RisingEdge(self.dut.done), 1 << 24, "ns")
        await FallingEdge(self.dut.clk)
        results = await self.results(len(batch.runs))
        differing = self.golden.differences(batch, results)
        if trace or differing:
            commands = [(tick & 0xFFFFFFFF, *more) for tick, *more in self.golden.commands]
            for i, (got, want) in enumerate(zip(await self.trace(), commands, strict=False)):
                if got != want:
                    def show(command):
                        places = [k for k, word in enumerate(batch.words) if word == command[1]]
                        return f"{show_command(command)} at {places}"

                    differing += [*map(show, commands[max(i - 12, 0):i]), f"engine {show(got)}",
                                  f"model  {show(want)}"]
                    break
        assert not differing, "\n".join(differing)
        return results


async def start(dut):
    Clock(dut.clk, PERIOD_NS, "ns").start()
    bench = Bench(dut)
    await bench.reset()
    return bench


HALT = encode(Op.HALT, code=0x55AA)


def nop(dwell):
    return encode(Op.NOP, dwell=dwell)


def show(a, b=0):
    """A mark that puts two registers on the command bus."""
    return encode(Op.TAG, dwell=1, code=a << 12 | b)


def batches(programs):
    """Batches of ``(words, keywords of RandomRun)``; ``words`` is a function of their address."""
    batch, used = Batch([0] * PROGRAM_DEPTH), 0
    for words, about in programs:
        words = words(used) if callable(words) else words
        if used + len(words) > PROGRAM_DEPTH or len(batch.runs) == RUNS:
            raise ValueError("too much for a batch")
        batch.words[used:used + len(words)] = words
        batch.runs.append(RandomRun(used, **{"events": [], **about}))
        used += len(words)
        if used > PROGRAM_DEPTH - 100 or len(batch.runs) == RUNS:
            yield batch
            batch, used = Batch([0] * PROGRAM_DEPTH), 0
    if batch.runs:
        yield batch


@cocotb.test()
async def every_operation(dut):
    """Each one alone: at its least dwell, behind words of one tick, and with all its codes."""
    rng = random.Random(seed_from_environment())
    bench = await start(dut)
    jumps = {Op.JMP, Op.CALL, Op.BR}

    def around(word):
        return [encode(Op.SET, dwell=1), word, show(7, 8), show(9, 10), HALT]

    def programs():
        for op in Op:
            least = least_dwell(op)
            if not least or op in (Op.RET, Op.LOOP):
                continue
            for dwell in (least, least + 1, least + 2, 100):
                for _ in range(2):
                    def words(at, op=op, dwell=dwell, free=rng.getrandbits(64)):
                        if op in jumps:
                            return around(encode(op, dwell=dwell, target=at + 2 + (free & 1)))
                        if op in (Op.ALU, Op.GET, Op.NOP):
                            free = 0
                        if op is Op.DELAY:
                            free &= (1 << 60) - 1
                        return around(op.value | dwell << 6 | free & -1 << 20)
                    yield words, {"preset": (0, rng.getrandbits(5))}
        for function in AluFunction:
            for immediate in (0, 1):
                word = encode(Op.ALU, dwell=MUL_TICKS, function=function, immediate=immediate,
                              value=-77, shift=9, ra=1, rb=2, rd=7)
                yield ([encode(Op.LI, dwell=DATA_TICKS, rd=k, value=rng.getrandbits(32))
                        for k in (1, 2)] + around(word), {})
        for source in Source:
            yield around(encode(Op.GET, dwell=DATA_TICKS, source=source, rd=7)), {
                "events": [(k, 3 * k, k, k if k % 4 else None, ((7 * k, 1), (9 * k, 0)))
                           for k in range(1, 14)]}
        for first in range(32):
            yield around(encode(Op.LDT, dwell=LDT_TICKS, first=first, second=31 - first, rd=7)), {}
        for condition in Condition:
            for a, b in ((0, 0), (1, -1), (-1, 1), (5, 6), (6, 5)):
                def words(at, condition=condition, a=a, b=b):
                    return [encode(Op.LI, dwell=DATA_TICKS, rd=1, value=a & 0xFFFFFFFF),
                            encode(Op.BR, dwell=BRANCH_TICKS, condition=condition, immediate=1,
                                   value=b, ra=1, target=at + 3), HALT, show(1), HALT]
                yield words, {}
        # CALL and RET back to back, and as deep as they go.
        for depth in range(1, 9):
            def words(at, depth=depth):
                calls = [word for k in range(depth) for word in (
                    encode(Op.CALL, dwell=BRANCH_TICKS, target=at + 2 * k + 2),
                    encode(Op.RET, dwell=BRANCH_TICKS) if k else HALT)]
                return [*calls, encode(Op.RET, dwell=BRANCH_TICKS)]
            yield words, {}

    for batch in batches(programs()):
        await bench.run(batch, trace=True)


@cocotb.test()
async def every_loop(dut):
    """Bodies of 1 to 9 words, counts of 1 to 4, up to four levels that end at the same word."""
    bench = await start(dut)

    def programs():
        for span in range(1, SHORT_LOOP + 3):
            least = BRANCH_TICKS if span < SHORT_LOOP else 1
            for count in (1, 2, 3, 4, 5, 6, 8, 9, 17)[:4 if span > 4 else None]:
                for dwell in (least, least + 1, least + 2, least + 6):
                    yield [encode(Op.LOOP, dwell=dwell, span=span, count=count),
                           *[encode(Op.SET, dwell=1, value=k) for k in range(span)], show(0),
                           HALT], {}
                yield [encode(Op.LI, dwell=DATA_TICKS, rd=3, value=count),
                       encode(Op.LOOP, dwell=max(least, DATA_TICKS), span=span, register=1)
                       | 3 << 60,
                       *[encode(Op.SET, dwell=1, value=k) for k in range(span)], HALT], {}
        for levels in (2, 3, 4):
            for body in (1, 2, 3, 7):
                for behind in (0, 1, 2):
                    # Each level has its LOOP before the next, and `behind` words after it.
                    words = [encode(Op.SET, dwell=1, value=k) for k in range(body)]
                    for level in range(levels):
                        words = [encode(Op.LOOP, dwell=BRANCH_TICKS, span=len(words),
                                        count=1 + (level + body) % 3), *words,
                                 *[encode(Op.SET, dwell=1, value=99)] * behind]
                    yield [*words, HALT], {}
        # Ends that wait, and ends that branch but are not taken.
        never = encode(Op.BR, dwell=BRANCH_TICKS, condition=Condition.NE)
        at_once = encode(Op.WAITTRIG, mode=TriggerMode.ALL)
        for last in (never, at_once, encode(Op.BARRIER)):
            for before in (0, 1, 3):
                for levels in (1, 2, 3):
                    words = [*[encode(Op.SET, dwell=1)] * before, last]
                    for _ in range(levels):
                        words = [encode(Op.LOOP, dwell=BRANCH_TICKS, span=len(words), count=2),
                                 *words]
                    yield [*words, show(1), HALT], {}
        # Out of loops, all at once and one by one, at their last word or before.
        for levels in (1, 2, 3, 4):
            for pop in range(levels + 1):
                for behind in (0, 1, 2):
                    def words(at, levels=levels, pop=pop, behind=behind):
                        inner = [encode(Op.JMP, dwell=BRANCH_TICKS, pop=pop,
                                        target=at + levels + 1 + 2 * behind),
                                 *[encode(Op.SET, dwell=1)] * 2 * behind]
                        return [*[encode(Op.LOOP, dwell=BRANCH_TICKS,
                                         span=levels - k + len(inner) - 1, count=2)
                                  for k in range(levels)], *inner, *[show(k) for k in range(4)],
                                HALT]
                    yield words, {"stop": 400}

    for batch in batches(programs()):
        await bench.run(batch, trace=True)


@cocotb.test()
async def every_end_of_a_wait(dut):
    """What is waited for comes in every tick from before the wait until after its timeout."""
    bench = await start(dut)
    kinds = [(Op.WAITTRIG, {"mode": mode, "mask": 1}) for mode in TriggerMode]
    kinds += [(Op.BARRIER, {"mask": 1})]
    kinds += [(Op.BRH, {"mask": stride, "mode": mode}) for stride in (0, 1) for mode in (0, 1)]
    kinds += [(Op.DEC, {"mask": mask}) for mask in range(4)]

    def programs():
        for op, about in kinds:
            for timeout in (1, 2, 3, 5, 8, 13):
                for before in (1, 6):
                    for when in range(4, 12 + timeout + before, 1 if timeout < 8 else 2):
                        stride = about["mask"] if op is Op.BRH else 0

                        def words(at, op=op, about=about, timeout=timeout, before=before,
                                  stride=stride):
                            table = [encode(Op.TAG, dwell=1, code=k << 8 | 0x77)
                                     for k in range((BRH_ENTRIES - 1 << stride) + 1)]
                            clear = Op.ARM if op is Op.BRH else Op.SYN
                            more = {} if op is Op.BRH else {"first": 1}
                            return [encode(clear, dwell=before, **more),
                                    encode(op, target=at + (2 if op is Op.BRH else 3), rd=7,
                                           timeout=timeout, **about),
                                    *(table if op is Op.BRH else [show(7, 7)]), show(7, 7), HALT]

                        level = int(about.get("mode") is not TriggerMode.FALL)
                        yield words, {"events": [
                            (1, 1 - level, 0, None, (None, None)),
                            (when, level, 1, when & 15, ((when, 1), (2 * when, 1))),
                            (when + 3, 1 - level, 0, 5, ((9, 0), (8, 0)))]}

    for batch in batches(programs()):
        await bench.run(batch)


@cocotb.test()
async def attempts_in_loops(dut):
    """A loop that ends at a BRH: a verdict in every tick, and out of every number of loops."""
    bench = await start(dut)

    def programs():
        for levels in (1, 2, 3, 4):
            for pop in range(levels + 2):
                for timeout, before in ((1, 0), (1, 1), (2, 2), (5, 0), (3, 5)):
                    for when in range(4, 60, 1 if levels == 2 else 7):
                        def words(at, levels=levels, pop=pop, timeout=timeout, before=before):
                            last = at + levels + before + 1
                            return [
                                *[encode(Op.LOOP, dwell=BRANCH_TICKS, span=last - at - k, count=2)
                                  for k in range(levels)],
                                encode(Op.ARM, dwell=1), *[encode(Op.SET, dwell=1)] * before,
                                encode(Op.BRH, mode=1, mask=pop << 3, rd=7, timeout=timeout,
                                       target=last + 3),
                                show(7, 7), HALT,
                                *[encode(Op.TAG, dwell=1, code=0x7700 | k)
                                  for k in range(BRH_ENTRIES - 1)],
                                encode(Op.LOOP, dwell=BRANCH_TICKS, span=1, count=2), show(7, 7),
                                HALT]
                        yield words, {"events": [(when, 0, 0, when & 15, (None, None)),
                                                 (when + 4, 0, 0, 9, (None, None))],
                                      "stop": 600}

    for batch in batches(programs()):
        await bench.run(batch)


@cocotb.test()
async def every_fault(dut):
    rng = random.Random(seed_from_environment())
    bench = await start(dut)
    found = set()

    for _ in range(4):
        batch, used = Batch([0] * PROGRAM_DEPTH), 0
        for fault in FAULTS * 8:
            words, pc, limit, _ = random_program(rng, used, fault=fault, items=rng.choice((0, 12)))
            batch.words[used:used + len(words)] = words
            batch.runs.append(RandomRun(pc, random_world(rng, limit), stop=limit + 400))
            used += len(words)
        found |= {Fault(result["fault"]) for result in await bench.run(batch)}
    assert found >= set(FAULTS), found


@cocotb.test()
async def stop_in_every_tick(dut):
    """From the start to behind the end, and the next program finds a clean engine."""
    bench = await start(dut)

    def words(at):
        return [
            encode(Op.SET, dwell=1), encode(Op.LI, dwell=DATA_TICKS, rd=1, value=3),
            encode(Op.LOOP, dwell=DATA_TICKS, span=SHORT_LOOP, register=1) | 1 << 60,
            encode(Op.TAG, dwell=1),
            encode(Op.ALU, dwell=MUL_TICKS, function=AluFunction.MUL, ra=1, rb=1, rd=2),
            encode(Op.GET, dwell=DATA_TICKS, source=Source.TICK_LOW, rd=3),
            *[show(k, 3) for k in range(SHORT_LOOP - 3)],
            encode(Op.CALL, dwell=BRANCH_TICKS, target=at + SHORT_LOOP + 9),
            encode(Op.BARRIER, mask=1, timeout=4, target=at + SHORT_LOOP + 5, rd=4),
            show(4), encode(Op.ARM, dwell=2), encode(Op.JMP, dwell=BRANCH_TICKS,
                                                     target=at + SHORT_LOOP + 7), HALT,
            encode(Op.LDT, dwell=LDT_TICKS, rd=5), HALT, encode(Op.DELAY, dwell=9, ra=1),
            encode(Op.RET, dwell=BRANCH_TICKS)]

    clean = [show(k, k + 1) for k in range(0, 8, 2)] + [
        encode(Op.LOOP, dwell=BRANCH_TICKS, span=1, count=2), nop(2), HALT]
    runs = []
    for stop in range(1, 130):
        runs += [(words, {"stop": stop, "gap": stop % 4}), (clean, {})]
    for batch in batches(runs):
        await bench.run(batch)


@cocotb.test()
async def timed_starts(dut):
    bench = await start(dut)
    runs = [([nop(1), encode(Op.WAITUNTIL, time=9), show(1), HALT],
             {"release": release, "gap": release % 3}) for release in range(10, 60)]
    for batch in batches(runs):
        results = await bench.run(batch, trace=True)
        assert all(result["halted"] for result in results)


@cocotb.test()
async def reset_in_the_middle(dut):
    rng = random.Random(seed_from_environment())
    bench = await start(dut)
    for _ in range(12):
        batch = random_batch(rng, runs=20)
        await bench.load(batch)
        await bench.begin(len(batch.runs))
        await Timer(PERIOD_NS * rng.randrange(20, 2000), "ns")
        await FallingEdge(dut.clk)
        await bench.reset()
        for index in range(16):
            dut.data_index.value = index
            await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        assert not dut.clearing.value
        assert int(dut.data_value.value) == 0
        await bench.run(batch, trace=True)


@cocotb.test()
async def random_programs(dut):
    rng = random.Random(seed_from_environment())
    bench = await start(dut)
    begun = time.perf_counter()
    first = True
    while bench.golden.runs < PROGRAMS or bench.golden.ticks < TICKS:
        if rng.random() < 0.3:
            # Where the halves of a tick's number part.
            await bench.set_tick((rng.getrandbits(31) << 32) - rng.getrandbits(14) & (1 << 63) - 1)
        await bench.run(random_batch(rng), trace=first)
        first = False
    golden = bench.golden
    dut._log.info("%d programs, %d commands, %d ticks in %.1f s", golden.runs, golden.issued,
                  golden.ticks, time.perf_counter() - begun)
