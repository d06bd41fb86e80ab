"""Verilog that does only the work that is due.

Amaranth's own Verilog, Verilated, computes every next state in every tick, although in most ticks
most of a node stands still. :func:`to_activity_verilog` writes the same netlist as one module in
which logic is cut into small parts, and a part is computed only if something it reads has changed
since it was last computed. What is skipped would have given the values that are there already, so
the result is the same in every bit and every tick.

Either edge of ``clk`` is a tick and one evaluation: inputs are taken in, what is due is computed,
``rx`` and ``tx`` answer, and registers and memories take their next values. So after an edge the
outputs ``rx`` and ``tx`` are those of the tick that has passed, with the inputs of that tick, and
so are those that the caller names; all others have to be registers and show their new state.

Parts are cut from one topological order, so each comes after those that it reads from. A value
that leaves its part is compared with what it was; a change marks its readers in a bit set. A part
also computes the next states of its registers. A register that only this and earlier parts read
takes its next state at once, the others wait until all parts are done.
"""

from collections import defaultdict

__all__ = ["CannotSchedule", "to_activity_verilog"]

#: Cells after which a part is closed. Small parts skip more and cost more to look after.
PART_CELLS = 32
_WORD = 64
_GROUP = 16


class CannotSchedule(RuntimeError):
    """The netlist holds something that only the ordinary Verilog can express."""


def to_activity_verilog(component, name, *, passed=(), unseen=(), part_cells=PART_CELLS):
    """Verilog text of ``component`` as module ``name``, computed by need.

    Parameters
    ----------
    component : wiring.Component
        With one clock domain, ``sync``; its reset is held at 0.
    name : str
    passed : sequence of str
        Outputs besides ``rx`` and ``tx`` that show the tick that has passed.
    unseen : sequence of str
        Outputs that are left out, with all that is computed for nothing else.
    part_cells : int
        Cells after which a part is closed.

    Returns
    -------
    str
        The same for the same component on every machine. Ports are those of the component
        (path joined by double underscores) and ``clk``.

    Raises
    ------
    CannotSchedule
        A combinational loop through the bits of one value, an asynchronous reset, an instance, an
        output that has to be a register and is none, or a version of Amaranth whose netlist is
        another.
    """
    try:
        from amaranth.hdl import Const, Fragment, Value
        from amaranth.hdl import _ir as ir
        from amaranth.hdl import _nir as nir
    except ImportError as error:
        raise CannotSchedule(f"Amaranth's netlist is not where it was: {error}") from None
    ports, less = [], False
    for path, _member, port in component.signature.flatten(component):
        if path[0] in unseen:
            less = True
            continue
        # The constant that is `ready` of a stream which can't be stalled is no port.
        if not isinstance(value := Value.cast(port), Const):
            ports.append(("__".join(map(str, path)), value, None))
    netlist = ir.build_netlist(Fragment.get(component, None), ports=ports, name=name)
    return _Writer(netlist, nir, name, part_cells, passed, less).text()


class _Canonical:
    """Stands in for a netlist where a cell resolves its nets."""

    def __init__(self, nir, net):
        self._nir, self.resolve_net = nir, net

    def resolve_value(self, value):
        return self._nir.Value(self.resolve_net(net) for net in value)


class _Writer:
    def __init__(self, netlist, nir, name, part_cells, passed=(), less=False):
        self.passed = {"rx", "tx", *passed}
        self.netlist, self.nir, self.name, self.part_cells = netlist, nir, name, part_cells
        self.cells = netlist.cells
        self.inputs = dict(netlist.top.ports_i)
        self.outputs = dict(netlist.top.ports_o)
        self.memories = defaultdict(list)
        self.net_cache = {}
        self.check()
        self.share()
        if less:
            self.drop()
        self.order()
        self.cut()

    # -- the netlist ----------------------------------------------------------------------

    def check(self):
        nir = self.nir
        known = (nir.Top, nir.Operator, nir.Part, nir.Matches, nir.PriorityMatch,
                 nir.AssignmentList, nir.FlipFlop, nir.Memory, nir.SyncWritePort,
                 nir.AsyncReadPort, nir.SyncReadPort)
        clock = self.inputs.pop("clk", None)
        reset = self.inputs.pop("rst", None)
        if clock is None:
            raise CannotSchedule("There is no clock `clk`")
        self.clock = nir.Net.from_cell(0, clock[0])
        self.zero = {nir.Net.from_cell(0, reset[0])} if reset else set()
        self.input_of = {}
        for name, (start, width) in self.inputs.items():
            for bit in range(width):
                self.input_of[start + bit] = (name, bit, width)
        for index, cell in enumerate(self.cells):
            if not isinstance(cell, known):
                raise CannotSchedule(f"A cell of kind {type(cell).__name__}")
            clocked = (nir.FlipFlop, nir.SyncWritePort, nir.SyncReadPort)
            if isinstance(cell, clocked) and (cell.clk != self.clock or cell.clk_edge != "pos"):
                raise CannotSchedule("A second clock")
            if isinstance(cell, nir.FlipFlop) and cell.arst != 0:
                raise CannotSchedule("An asynchronous reset")
            if isinstance(cell, (nir.SyncWritePort, nir.SyncReadPort)):
                self.memories[cell.memory].append(index)
            if isinstance(cell, nir.SyncReadPort) and cell.transparent_for:
                raise CannotSchedule("A transparent read port")

    def is_kind(self, net, kind):
        return net >= 2 and isinstance(self.cells[net.cell], kind)

    def width(self, index):
        nir, cell = self.nir, self.cells[index]
        if isinstance(cell, nir.AssignmentList):
            return len(cell.default)
        if isinstance(cell, nir.PriorityMatch):
            return len(cell.inputs)
        if isinstance(cell, nir.FlipFlop):
            return len(cell.data)
        if isinstance(cell, nir.Matches):
            return 1
        return cell.width

    def nets(self, index):
        """Nets that a cell's value is computed from."""
        if index not in self.net_cache:
            cell = self.cells[index]
            if isinstance(cell, self.nir.AssignmentList):
                nets = set(cell.default)
                for assignment in cell.assignments:
                    nets |= set(assignment.value)
                nets |= self.decision_nets(self.decisions(cell))
            else:
                nets = set(cell.input_nets())
            self.net_cache[index] = sorted(net for net in nets if net >= 2 and net != self.clock
                                           and net not in self.zero)
        return self.net_cache[index]

    def reads(self, index):
        """Cells (and 0, the inputs) whose values a cell's value is computed from."""
        return {net.cell for net in self.nets(index)}

    def split(self, alias):
        """Cut wide registers and selections, so that what changes takes less along."""
        nir = self.nir
        for index, cell in enumerate(list(self.cells)):
            if not isinstance(cell, (nir.FlipFlop, nir.AssignmentList)) \
                    or self.width(index) <= _WORD:
                continue
            self.replaced.add(index)
            for low in range(0, self.width(index), _WORD):
                high = min(low + _WORD, self.width(index))
                if isinstance(cell, nir.FlipFlop):
                    piece = nir.FlipFlop(
                        cell.module_idx, data=cell.data[low:high], clk=cell.clk,
                        init=cell.init >> low & (1 << high - low) - 1, clk_edge=cell.clk_edge,
                        arst=cell.arst, attributes=cell.attributes, src_loc=None)
                else:
                    piece = nir.AssignmentList(
                        cell.module_idx, default=cell.default[low:high], src_loc=None,
                        assignments=[nir.Assignment(
                            cond=one.cond, start=max(one.start, low) - low, src_loc=None,
                            value=one.value[max(low - one.start, 0):high - one.start])
                            for one in cell.assignments
                            if one.start < high and one.start + len(one.value) > low])
                self.cells.append(piece)
                for bit in range(low, high):
                    alias[nir.Net.from_cell(index, bit)] = \
                        nir.Net.from_cell(len(self.cells) - 1, bit - low)

    def share(self):
        """Let cells that compute the same be one: Amaranth makes a cell of every mention."""
        nir, seen, same = self.nir, {}, {}
        alias = {}
        self.replaced = set()
        self.split(alias)
        for index, cell in enumerate(self.cells):
            if isinstance(cell, nir.AssignmentList) and index not in self.replaced:
                nets = list(cell.default)
                for assignment in cell.assignments:
                    for at, net in enumerate(assignment.value, assignment.start):
                        nets[at] = net if assignment.cond == 1 else None
                for bit, net in enumerate(nets):
                    if net is not None:
                        alias[nir.Net.from_cell(index, bit)] = net

        def canonical(net):
            while net >= 2:
                if net in alias:
                    net = alias[net]
                elif net.cell in same:
                    net = nir.Net.from_cell(same[net.cell], net.bit)
                else:
                    break
            return net

        while True:
            merged = False
            for index, cell in enumerate(self.cells):
                if not isinstance(cell, nir.Operator) or index in same:
                    continue
                cell.inputs = tuple(nir.Value(canonical(net) for net in value)
                                    for value in cell.inputs)
                first = seen.setdefault((cell.operator, cell.inputs), index)
                if first != index:
                    same[index] = first
                    merged = True
            if not merged:
                break
            seen = {}
        for cell in self.cells:
            cell.resolve_nets(_Canonical(nir, canonical))
        self.outputs = dict(self.netlist.top.ports_o)

    # -- decisions ------------------------------------------------------------------------

    def switch(self, match):
        """Tests of a priority match, as (nets, pattern) pairs by bit; first that holds, wins."""
        tests = []
        for net in self.cells[match].inputs:
            if net < 2:
                tests.append(((), ("",) * net))
                continue
            if not self.is_kind(net, self.nir.Matches):
                raise CannotSchedule("A switch without patterns")
            cell = self.cells[net.cell]
            tests.append((tuple(cell.value), cell.patterns))
        return tests

    def decisions(self, cell):
        """Assignments as a tree: a list of assignments and of (match, {bit: list})."""
        root = []
        for assignment in cell.assignments:
            path, net = [], assignment.cond
            while net != 1:
                if not self.is_kind(net, self.nir.PriorityMatch):
                    raise CannotSchedule("An assignment that no switch decides on")
                path.append((net.cell, net.bit))
                net = self.cells[net.cell].en
            branch = root
            for match, bit in reversed(path):
                # What is under one bit of a match excludes what is under the others, so that it
                # may be gathered as long as nothing else comes between.
                if not (branch and isinstance(branch[-1], tuple) and branch[-1][0] == match):
                    branch.append((match, {}))
                branch = branch[-1][1].setdefault(bit, [])
            last = branch[-1] if branch and not isinstance(branch[-1], tuple) else None
            if last is not None and last.start + len(last.value) == assignment.start:
                branch[-1] = self.nir.Assignment(
                    cond=last.cond, start=last.start, src_loc=None,
                    value=self.nir.Value((*last.value, *assignment.value)))
            else:
                branch.append(assignment)
        return root

    def branches(self, match, used):
        """(bit, test) in order for the bits in ``used`` and those that keep them from holding."""
        tests = self.switch(match)
        result = []
        for bit, (nets, patterns) in enumerate(tests[:max(used) + 1]):
            excluded = all(later not in used or tests[later][0] == nets
                           and self.disjoint(patterns, tests[later][1])
                           for later in range(bit + 1, len(tests)))
            if bit in used or not excluded:
                result.append((bit, (nets, patterns)))
        return result

    def decision_nets(self, tree):
        nets = set()
        for item in tree:
            if isinstance(item, tuple):
                match, bits = item
                for _, (value, patterns) in self.branches(match, set(bits)):
                    nets |= {net for pattern in patterns
                             for net, bit in zip(value, reversed(pattern), strict=True)
                             if bit != "-"}
                for inner in bits.values():
                    nets |= self.decision_nets(inner)
        return nets

    def decide(self, tree, target, width):
        """Statements of a decision tree."""
        lines = []
        for item in tree:
            if not isinstance(item, tuple):
                size = len(item.value)
                if item.start == 0 and size == width:
                    place = target
                elif size == 1:
                    place = f"{target}[{item.start}]"
                else:
                    place = f"{target}[{item.start + size - 1}:{item.start}]"
                lines.append(f"{place} = {self.value(item.value)};")
                continue
            match, bits = item
            word = "if"
            for bit, (nets, patterns) in self.branches(match, set(bits)):
                test = self.test(nets, patterns)
                inner = self.decide(bits.get(bit, []), target, width)
                lines += [f"{word} ({test}) begin", *(f"  {line}" for line in inner), "end"]
                word = "else if"
                if test == "1'd1":
                    break
        return lines

    def test(self, nets, patterns):
        tests = []
        for pattern in patterns:
            # Patterns are written from the top bit down.
            picked = [(net, bit) for net, bit in zip(nets, reversed(pattern), strict=True)
                      if bit != "-"]
            if not picked:
                return "1'd1"
            wanted = sum((bit == "1") << k for k, (_, bit) in enumerate(picked))
            value = self.value([net for net, _ in picked])
            if len(picked) == 1:
                tests.append(value if wanted else f"~{value}")
            else:
                tests.append(f"({value} == {len(picked)}'h{wanted:x})")
        return " | ".join(tests) or "1'd0"

    def combinational(self, index):
        nir = self.nir
        return isinstance(self.cells[index], (nir.Operator, nir.Part, nir.Matches,
                                              nir.PriorityMatch, nir.AssignmentList,
                                              nir.AsyncReadPort))

    def drop(self):
        """Leave out registers and memories that no output depends on."""
        nir = self.nir
        todo = [net.cell for value in self.outputs.values() for net in value if net >= 2]
        seen = {0}
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += self.reads(index)
                if isinstance(self.cells[index], (nir.AsyncReadPort, nir.SyncReadPort)):
                    todo += self.memories[self.cells[index].memory]
        self.replaced |= set(range(len(self.cells))) - seen
        for memory, ports in list(self.memories.items()):
            if not seen.intersection(ports):
                del self.memories[memory]

    # -- parts ----------------------------------------------------------------------------

    def order(self):
        """Topological order of combinational cells, each register after what it takes."""
        nir = self.nir
        sinks = [index for index, cell in enumerate(self.cells) if isinstance(cell, nir.FlipFlop)
                 and index not in self.replaced]
        # What comes later in a pipeline goes first, and has read a register before it changes.
        sinks.sort(key=lambda index: (-self.cells[index].module_idx, -index))
        roots = []
        for index in self.memories.values():
            for port in index:
                roots += sorted(self.reads(port))
        for value in self.outputs.values():
            roots += [net.cell for net in value if net >= 2]
        state, self.sequence = {}, []
        for sink in sinks + roots:
            if not (self.combinational(sink) or isinstance(self.cells[sink], nir.FlipFlop)):
                continue
            if sink in sinks and sink in state:
                continue
            stack = [(sink, iter(sorted(self.reads(sink))))] if sink not in state else []
            if stack:
                state[sink] = 1
            while stack:
                index, rest = stack[-1]
                for other in rest:
                    if not self.combinational(other):
                        continue
                    if state.get(other) == 1:
                        raise CannotSchedule(f"Cell {other} depends on its own bits")
                    if other not in state:
                        state[other] = 1
                        stack.append((other, iter(sorted(self.reads(other)))))
                        break
                else:
                    state[index] = 2
                    self.sequence.append((index, sink))
                    stack.pop()

    def cut(self):
        """Parts from the order, and who reads what."""
        self.parts, self.part_of = [], {}
        owner = None
        for index, sink in self.sequence:
            module = self.cells[sink].module_idx
            if not self.parts or module != owner or len(self.parts[-1]) >= self.part_cells:
                self.parts.append([])
                owner = module
            self.parts[-1].append(index)
            self.part_of[index] = len(self.parts) - 1
        for number, memory in enumerate(self.memories):
            for port in self.memories[memory]:
                self.part_of[port] = len(self.parts) + number
        self.flags = len(self.parts) + len(self.memories)
        # Which flags to raise when a cell's value changes; inputs by name.
        self.readers, self.input_readers = defaultdict(set), defaultdict(set)
        self.memory_readers = defaultdict(set)
        for index in self.part_of:
            flag, cell = self.part_of[index], self.cells[index]
            for net in self.nets(index):
                if net.cell == 0:
                    self.input_readers[self.input_of[net.bit][0]].add(flag)
                elif self.part_of.get(net.cell) != flag or not self.combinational(net.cell):
                    self.readers[net.cell].add(flag)
            if isinstance(cell, self.nir.AsyncReadPort):
                self.memory_readers[cell.memory].add(flag)
        self.shown = {net.cell for value in self.outputs.values() for net in value if net >= 2}
        self.kept = {index for index in self.part_of
                     if not self.combinational(index) or self.readers[index] or index in self.shown}

    # -- text -----------------------------------------------------------------------------

    def value(self, nets):
        chunks, at = [], 0
        if not nets:
            return "1'h0"
        while at < len(nets):
            net, end = nets[at], at + 1
            if net < 2 or net in self.zero:
                while end < len(nets) and (nets[end] < 2 or nets[end] in self.zero):
                    end += 1
                bits = sum((int(nets[k]) & (nets[k] < 2)) << (k - at) for k in range(at, end))
                chunks.append(f"{end - at}'h{bits:x}")
            elif net.cell and isinstance(self.cells[net.cell], self.nir.PriorityMatch):
                chunks.append(f"c{net.cell}_{net.bit}")
            else:
                while end < len(nets) and nets[end] == net + (end - at):
                    if net.cell == 0 and self.input_of.get(nets[end].bit, (None,))[0] \
                            != self.input_of[net.bit][0]:
                        break
                    end += 1
                if net.cell == 0:
                    port, bit, width = self.input_of[net.bit]
                    text = f"i_{port}"
                else:
                    text, bit, width = f"c{net.cell}", net.bit, self.width(net.cell)
                if end - at == width:
                    chunks.append(text)
                elif end - at == 1:
                    chunks.append(f"{text}[{bit}]")
                else:
                    chunks.append(f"{text}[{bit + end - at - 1}:{bit}]")
            at = end
        return chunks[0] if len(chunks) == 1 else "{" + ", ".join(reversed(chunks)) + "}"

    def operator(self, cell):
        symbol, values = cell.operator, [self.value(value) for value in cell.inputs]
        if symbol == "m":
            return f"{values[0]} ? {values[1]} : {values[2]}"
        if symbol == "r&" and not cell.inputs[0]:
            return "1'h1"
        if len(values) == 1:
            return {"b": "|", "r|": "|", "r&": "&", "r^": "^"}.get(symbol, symbol) + values[0]
        left, right = values
        if symbol in ("s//", "u//", "s%", "u%"):
            raise CannotSchedule("A division")
        if symbol == "s>>":
            return f"$signed({left}) >>> {right}"
        if symbol[0] == "s":
            return f"$signed({left}) {symbol[1:]} $signed({right})"
        return f"{left} {symbol.removeprefix('u')} {right}"

    @staticmethod
    def disjoint(one, other):
        return all(any({a, b} == {"0", "1"} for a, b in zip(p, q, strict=True))
                   for p in one for q in other)

    def compute(self, index):
        """Statements that compute a cell's value."""
        nir, cell, target = self.nir, self.cells[index], f"c{index}"
        if not self.width(index):
            return []
        if isinstance(cell, nir.Operator):
            return [f"{target} = {self.operator(cell)};"]
        if isinstance(cell, nir.Part):
            if cell.value_signed and cell.width > len(cell.value):
                raise CannotSchedule("A signed part wider than its value")
            shift = self.value(cell.offset)
            if cell.stride != 1:
                shift = f"{{32'd0, {shift}}} * 32'd{cell.stride}"
            left = self.value(cell.value)
            if cell.value_signed:
                return [f"{target} = $signed({left}) >>> ({shift});"]
            return [f"{target} = {left} >> ({shift});"]
        if isinstance(cell, nir.Matches):
            return [f"{target} = {self.test(cell.value, cell.patterns)};"]
        if isinstance(cell, nir.PriorityMatch):
            lines = []
            for bit, net in enumerate(cell.inputs):
                terms = [self.value([cell.en]), self.value([net])]
                terms += [f"~{self.value([before])}" for before in cell.inputs[:bit]
                          if not self.exclusive(before, net)]
                lines.append(f"{target}_{bit} = " + " & ".join(
                    term for term in terms if term != "1'h1") + ";"
                    if any(term != "1'h1" for term in terms) else f"{target}_{bit} = 1'h1;")
            return lines
        if isinstance(cell, nir.AssignmentList):
            return [f"{target} = {self.value(cell.default)};",
                    *self.decide(self.decisions(cell), target, len(cell.default))]
        if isinstance(cell, nir.AsyncReadPort):
            return [f"{target} = m{cell.memory}[{self.value(cell.addr)}];"]
        raise AssertionError(cell)

    def exclusive(self, one, other):
        matches = self.nir.Matches
        if not (self.is_kind(one, matches) and self.is_kind(other, matches)):
            return False
        one, other = self.cells[one.cell], self.cells[other.cell]
        return one.value == other.value and self.disjoint(one.patterns, other.patterns)

    def variables(self, index):
        """Names and widths of the variables that hold a cell's value."""
        if isinstance(self.cells[index], self.nir.PriorityMatch):
            return [(f"c{index}_{bit}", 1) for bit in range(self.width(index))]
        return [(f"c{index}", self.width(index))]

    def mark(self, flags):
        masks = defaultdict(int)
        for flag in flags:
            masks[flag // _WORD] |= 1 << flag % _WORD
        return " ".join(f"due{word} = due{word} | {_WORD}'h{mask:x};"
                        for word, mask in sorted(masks.items()))

    @staticmethod
    def declare(kind, name, width, init=None):
        size = f"[{width - 1}:0] " if width > 1 else ""
        value = "" if init is None else f" = {width}'h{init:x}"
        return f"{kind} {size}{name}{value};"

    def task(self, name, declarations, body):
        return [f"task automatic {name};", *(f"  {line}" for line in declarations), "  begin",
                *(f"    {line}" for line in body), "  end", "endtask"]

    def part(self, number):
        nir = self.nir
        local, body, late, last, commits = [], [], [], [], []
        for index in self.parts[number]:
            cell = self.cells[index]
            if isinstance(cell, nir.FlipFlop):
                width = self.width(index)
                if not width:
                    continue
                update = (f"if (n{index} != c{index}) begin c{index} = n{index}; "
                          f"{self.mark(self.readers[index])} end")
                late.append(f"n{index} = {self.value(cell.data)};")
                if max(self.readers[index], default=0) <= number and index not in self.shown:
                    # Whoever reads it has done so in this tick.
                    (self.members if width > _WORD else local).append(
                        self.declare("reg", f"n{index}", width))
                    last.append(update)
                else:
                    self.members.append(self.declare("reg", f"n{index}", width, cell.init))
                    commits.append(update)
                continue
            for name, width in self.variables(index):
                if index in self.kept:
                    (self.members if width > _WORD else local).append(
                        self.declare("reg", f"o_{name}", width))
                    body.append(f"o_{name} = {name};")
                    late.append(f"if (o_{name} != {name}) begin "
                                f"{self.mark(self.readers[index])} end")
                else:
                    # Verilator would clear a wide local variable in every tick.
                    (self.members if width > _WORD else local).append(
                        self.declare("reg", name, width))
            body += self.compute(index)
        if commits:
            flag = f"commit{number // _WORD}[{number % _WORD}]"
            late.append(f"{flag} = 1'd1;")
            self.tasks += self.task(f"commit_{number}", [], commits)
        clear = f"due{number // _WORD}[{number % _WORD}] = 1'd0;"
        self.tasks += self.task(f"part_{number}", local, [clear, *body, *late, *last])
        return bool(commits)

    def memory(self, number, memory):
        nir, cell = self.nir, self.cells[memory]
        flag = len(self.parts) + number
        own = f"due{flag // _WORD}[{flag % _WORD}]"
        # Read ports show what they have read after all memories are done: one memory's port may
        # be driven by another's.
        reads, shows, writes = [f"{own} = 1'd0;"], [], []
        for index in self.memories[memory]:
            port = self.cells[index]
            if isinstance(port, nir.SyncReadPort):
                self.members.append(self.declare("reg", f"n{index}", port.width, 0))
                line = f"n{index} = m{memory}[{self.value(port.addr)}];"
                reads.append(line if port.en == 1 else f"if ({self.value([port.en])}) {line}")
                shows.append(f"if (n{index} != c{index}) begin c{index} = n{index}; "
                             f"{self.mark(self.readers[index])} end")
                continue
            at = 0
            while at < cell.width:
                # Bits that are written together.
                end = at + 1
                while end < cell.width and port.en[end] == port.en[at]:
                    end += 1
                place = f"m{memory}[{self.value(port.addr)}]"
                if (at, end) != (0, cell.width):
                    place += f"[{end - 1}:{at}]"
                writes.append(f"if ({self.value([port.en[at]])}) begin "
                              f"{place} = {self.value(port.data[at:end])}; {own} = 1'd1; "
                              f"{self.mark(self.memory_readers[memory])} end")
                at = end
        if shows:
            reads.append(f"shows[{number}] = 1'd1;")
            self.tasks += self.task(f"show_{number}", [], shows)
        self.tasks += self.task(f"memory_{number}", [], reads + writes)
        return own, bool(shows)

    def taken(self, name):
        return name.split("__")[0] in self.passed

    def text(self):
        nir = self.nir
        self.members, self.tasks, initial = [], [], []
        for index in sorted(self.kept):
            cell = self.cells[index]
            if isinstance(cell, nir.SyncWritePort):
                continue
            init = 0
            if isinstance(cell, nir.FlipFlop):
                init = cell.init & (1 << len(cell.data)) - 1
            for name, width in self.variables(index):
                self.members.append(self.declare("reg", name, width, init))
        for memory, cell in enumerate(self.cells):
            if isinstance(cell, nir.Memory):
                size = f"[{cell.width - 1}:0] " if cell.width > 1 else ""
                self.members.append(f"reg {size}m{memory} [0:{cell.depth - 1}];")
                if any(cell.init):
                    initial += [f"m{memory}[{k}] = {cell.width}'h{value:x};"
                                for k, value in enumerate(cell.init)]
                else:
                    initial.append(f"for (k = 0; k < {cell.depth}; k = k + 1) "
                                   f"m{memory}[k] = {cell.width}'h0;")
        words = (self.flags + _WORD - 1) // _WORD
        for word in range(words):
            self.members.append(self.declare("reg", f"due{word}", _WORD, (1 << _WORD) - 1))
            self.members.append(self.declare("reg", f"commit{word}", _WORD, 0))
        tick, settle = [], []
        shows = []
        for number, memory in enumerate(self.memories):
            flag, shown = self.memory(number, memory)
            tick.append(f"if ({flag}) memory_{number};")
            if shown:
                shows.append(f"  if (shows[{number}]) show_{number};")
        if shows:
            size = len(self.memories)
            self.members.append(self.declare("reg", "shows", size, 0))
            tick += ["if (shows != 0) begin", *shows, "  shows = 0;", "end"]
        evaluate = defaultdict(list)
        commit = defaultdict(list)
        for number in range(len(self.parts)):
            word, bit = divmod(number, _WORD)
            if self.part(number):
                commit[word].append((bit, f"if (commit{word}[{bit}]) commit_{number};"))
            evaluate[word].append(f"if (due{word}[{bit}]) begin part_{number}; end")
        for word, lines in commit.items():
            for group in range(0, _WORD, _GROUP):
                inside = [line for bit, line in lines if group <= bit < group + _GROUP]
                if inside:
                    bits = f"commit{word}[{group + _GROUP - 1}:{group}]"
                    tick += [f"if ({bits} != 0) begin", *inside, f"  {bits} = 0;", "end"]
        for name, (_, width) in self.inputs.items():
            self.members.append(self.declare("reg", f"i_{name}", width, 0))
            settle.append(f"if (i_{name} != {name}) begin i_{name} = {name}; "
                          f"{self.mark(self.input_readers[name])} end")
        for word in range(words):
            for group in range(0, len(evaluate[word]), _GROUP):
                bits = f"due{word}[{group + _GROUP - 1}:{group}]"
                settle += [f"if ({bits} != 0) begin", *evaluate[word][group:group + _GROUP], "end"]
        # What answers within a tick is taken before registers change; what is a register shows
        # its new state, as it does in the ordinary Verilog.
        names = ["clk", *self.inputs, *self.outputs]
        lines = [f"module {self.name}({', '.join(names)});", "input clk;"]
        lines += [self.declare("input", name, width) for name, (_, width) in self.inputs.items()]
        take = []
        for name, value in self.outputs.items():
            lines.append(self.declare("output", name, len(value)))
            if self.taken(name):
                self.members.append(self.declare("reg", f"q_{name}", len(value), 0))
                take.append(f"q_{name} = {self.value(value)};")
                lines.append(f"assign {name} = q_{name};")
            else:
                for net in value:
                    if net >= 2 and not self.is_kind(net, nir.FlipFlop):
                        raise CannotSchedule(f"Output {name} is not a register")
                lines.append(f"assign {name} = {self.value(value)};")
        lines += [*self.members, "integer k;", "initial begin",
                  *(f"  {line}" for line in initial), "end", *self.tasks,
                  "always @(posedge clk or negedge clk) begin",
                  *(f"  {line}" for line in (*settle, *take, *tick)), "end", "endmodule", ""]
        return "\n".join(lines)
