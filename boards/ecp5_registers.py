"""Puts flip-flops around an ECP5's multipliers and behind its block memories into them.

A MULT18X18D has registers at its inputs and at its output, a DP16KD at its outputs, which Yosys
does not use. Without them a multiplier takes 3.9 ns, a memory 5.8 ns, and the ways to and from
them, which go over ten rows at times, as much again. What is behavioural in the gateware,
``product = a * b`` between registers, stays so: this works on the synthesised netlist, between
Yosys and nextpnr.
"""

__all__ = ["absorb_registers"]

_WIDTH, _PRODUCT_WIDTH = 18, 36


def _plain(cell):
    """Whether a flip-flop is one that a multiplier has: no enable, no reset, rising edge."""
    parameters, ports = cell["parameters"], cell["connections"]
    return (parameters.get("CEMUX", "1").strip() == "1"
            and parameters.get("CLKMUX", "CLK").strip() == "CLK"
            and parameters.get("REGSET", "RESET").strip() == "RESET"
            and ports.get("LSR", ["0"])[0] in ("0", "x") and "M" not in ports)


class _Netlist:
    """Who drives and who reads each bit of a module."""

    def __init__(self, module):
        self.cells = module["cells"]
        self.kept = {bit for net in module.get("ports", {}).values() for bit in net["bits"]}
        self.driver, self.readers = {}, {}
        self.removed = 0
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                output = cell["port_directions"].get(port) == "output"
                for bit in bits:
                    if isinstance(bit, str):
                        continue
                    if output:
                        self.driver[bit] = (name, port)
                    else:
                        self.readers.setdefault(bit, []).append((name, port))

    def _is_register(self, name):
        return (name in self.cells and self.cells[name]["type"] == "TRELLIS_FF"
                and _plain(self.cells[name]))

    def read(self, bit):
        """Whether anything reads a bit."""
        return bit in self.kept or bool(self.readers.get(bit))

    def before(self, bit):
        """The flip-flop that drives a bit, or None."""
        name, _port = self.driver.get(bit, (None, None))
        return name if self._is_register(name) else None

    def behind_register(self, register):
        """Whether a flip-flop only delays what another register gives."""
        bit = self.cells[register]["connections"]["DI"][0]
        name, port = self.driver.get(bit, (None, None))
        if name not in self.cells:
            return False
        cell = self.cells[name]
        return (cell["type"] == "TRELLIS_FF"
                or cell["parameters"].get(f"REGMODE_{port[2:3]}") == "OUTREG"
                or cell["parameters"].get("REG_OUTPUT_CLK", "NONE") != "NONE")

    def after(self, bit):
        """The flip-flop that is all that reads a bit, or None."""
        found = self.readers.get(bit, [])
        if (len(found) != 1 or bit in self.kept or found[0][1] != "DI"
                or not self._is_register(found[0][0])):
            return None
        return found[0][0]

    def clock(self, registers):
        """The one clock of flip-flops; None if they have not one, or one of them is None."""
        if not registers or None in registers:
            return None
        found = {self.cells[name]["connections"]["CLK"][0] for name in registers}
        return found.pop() if len(found) == 1 else None

    def take_output(self, name, port, register):
        """What the register behind a port gives, the port gives."""
        self.cells[name]["connections"][port] = bits = list(
            self.cells[register]["connections"]["Q"])
        self.driver[bits[0]] = (name, port)
        del self.cells[register]
        self.removed += 1

    def take_input(self, name, port, register):
        """What the register before a port is given, the port is given."""
        ports = self.cells[name]["connections"]
        self.readers[ports[port][0]].remove((name, port))
        ports[port] = list(self.cells[register]["connections"]["DI"])
        self.readers.setdefault(ports[port][0], []).append((name, port))

    def drop_unread(self, register):
        """Remove a flip-flop that nothing reads any more."""
        if not self.read(self.cells[register]["connections"]["Q"][0]):
            source = self.cells[register]["connections"]["DI"][0]
            if source in self.readers:
                self.readers[source].remove((register, "DI"))
            del self.cells[register]
            self.removed += 1


def _multiplier(netlist, name):
    cell = netlist.cells[name]
    ports, parameters = cell["connections"], cell["parameters"]
    products = {port: netlist.after(ports[port][0])
                for port in (f"P{k}" for k in range(_PRODUCT_WIDTH))
                if port in ports and netlist.read(ports[port][0])}
    clock = netlist.clock([*products.values()])
    if clock is not None:
        for port, register in products.items():
            netlist.take_output(name, port, register)
        parameters["REG_OUTPUT_CLK"] = "CLK0"
    factors = {port: netlist.before(ports[port][0])
               for port in (f"{side}{k}" for side in "AB" for k in range(_WIDTH))
               if not isinstance(ports[port][0], str)}
    factor_clock = netlist.clock([*factors.values()])
    if (factor_clock is not None and clock in (None, factor_clock)
            and all(netlist.behind_register(register) for register in factors.values())):
        clock = factor_clock
        for port, register in factors.items():
            netlist.take_input(name, port, register)
        for register in {*factors.values()}:
            netlist.drop_unread(register)
        parameters["REG_INPUTA_CLK"] = parameters["REG_INPUTB_CLK"] = "CLK0"
    if clock is not None:
        for port, bit in (("CLK0", clock), ("CE0", "1"), ("RST0", "0")):
            ports[port] = [bit]
            cell["port_directions"][port] = "input"


def _memory(netlist, name):
    cell = netlist.cells[name]
    ports, parameters = cell["connections"], cell["parameters"]
    for side in "AB":
        # A port of 36 bits comes out at both sides, with one clock.
        if int(parameters[f"DATA_WIDTH_{side}"], 2) > _WIDTH:
            return
        outputs = {port: netlist.after(ports[port][0])
                   for port in (f"DO{side}{k}" for k in range(_WIDTH))
                   if port in ports and netlist.read(ports[port][0])}
        clock = netlist.clock([*outputs.values()])
        if clock is None or ports[f"CLK{side}"] != [clock] or ports[f"OCE{side}"] != ["1"]:
            continue
        for port, register in outputs.items():
            netlist.take_output(name, port, register)
        parameters[f"REGMODE_{side}"] = "OUTREG"


def absorb_registers(module):
    """Move registers of a module of a Yosys JSON netlist into its multipliers and memories.

    A flip-flop without enable and reset is moved into an input of a multiplier, or an output of
    either, where all bits of that have one, of the same clock. Both inputs of a multiplier or
    neither are registered, and only by flip-flops that do nothing but delay: behind logic they are
    needed where they are, half way. A flip-flop before an input that others read, too, stays for
    them.

    Parameters
    ----------
    module : dict
        Changed in place.

    Returns
    -------
    int
        Flip-flops that are no longer there.
    """
    netlist = _Netlist(module)
    for kind, absorb in (("DP16KD", _memory), ("MULT18X18D", _multiplier)):
        for name in [name for name, cell in netlist.cells.items() if cell["type"] == kind]:
            absorb(netlist, name)
    return netlist.removed
