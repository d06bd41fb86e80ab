"""Puts flip-flops around an ECP5's multipliers into them.

A MULT18X18D has registers at its inputs and at its output, which Yosys does not use: between
flip-flops of the fabric it takes 3.9 ns, and the way from and to it, which ends ten rows further,
as much again. What is behavioural in the gateware, ``product = a * b`` between registers, stays so:
this works on the synthesised netlist, between Yosys and nextpnr.
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


def absorb_registers(module):
    """Move registers of a module of a Yosys JSON netlist into its multipliers.

    A flip-flop without enable and reset is moved into a multiplier's input or output where all
    bits of that have one, of the same clock. Both inputs or neither are registered. A flip-flop
    that others read, too, stays for them.

    Parameters
    ----------
    module : dict
        Changed in place.

    Returns
    -------
    int
        Flip-flops that are no longer there.
    """
    cells = module["cells"]
    kept = {bit for net in module.get("ports", {}).values() for bit in net["bits"]}
    driver, readers = {}, {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            output = cell["port_directions"].get(port) == "output"
            for bit in bits:
                if isinstance(bit, str):
                    continue
                if output:
                    driver[bit] = (name, port)
                else:
                    readers.setdefault(bit, []).append((name, port))

    def register(name):
        return name in cells and cells[name]["type"] == "TRELLIS_FF" and _plain(cells[name])

    def before(bit):
        """The flip-flop that drives a bit."""
        name, _port = driver.get(bit, (None, None))
        return name if register(name) else None

    def after(bit):
        """The flip-flop that is all that reads a bit."""
        found = readers.get(bit, [])
        if len(found) != 1 or bit in kept or found[0][1] != "DI" or not register(found[0][0]):
            return None
        return found[0][0]

    def clocks(names):
        return {cells[name]["connections"]["CLK"][0] for name in names}

    removed = 0
    for name, cell in list(cells.items()):
        if cell["type"] != "MULT18X18D":
            continue
        ports, parameters = cell["connections"], cell["parameters"]
        used = [f"P{k}" for k in range(_PRODUCT_WIDTH)
                if f"P{k}" in ports and (ports[f"P{k}"][0] in readers or ports[f"P{k}"][0] in kept)]
        products = {port: after(ports[port][0]) for port in used}
        operands = {f"{side}{k}": ports[f"{side}{k}"][0] for side in "AB" for k in range(_WIDTH)}
        factors = {port: before(bit) for port, bit in operands.items() if not isinstance(bit, str)}
        clock = None
        if used and None not in products.values() and len(clocks(products.values())) == 1:
            (clock,) = clocks(products.values())
            for port, flip_flop in products.items():
                ports[port] = list(cells[flip_flop]["connections"]["Q"])
                driver[ports[port][0]] = (name, port)
                del cells[flip_flop]
                removed += 1
            parameters["REG_OUTPUT_CLK"] = "CLK0"
        if (factors and None not in factors.values() and len(clocks(factors.values())) == 1
                and clock in (None, *clocks(factors.values()))):
            (clock,) = clocks(factors.values())
            for port, flip_flop in factors.items():
                old = ports[port][0]
                ports[port] = list(cells[flip_flop]["connections"]["DI"])
                readers[old].remove((name, port))
                readers.setdefault(ports[port][0], []).append((name, port))
            for flip_flop in {*factors.values()}:
                bit = cells[flip_flop]["connections"]["Q"][0]
                if not readers[bit] and bit not in kept:
                    source = cells[flip_flop]["connections"]["DI"][0]
                    if source in readers:
                        readers[source].remove((flip_flop, "DI"))
                    del cells[flip_flop]
                    removed += 1
            parameters["REG_INPUTA_CLK"] = parameters["REG_INPUTB_CLK"] = "CLK0"
        if clock is not None:
            for port, bit in (("CLK0", clock), ("CE0", "1"), ("RST0", "0")):
                ports[port] = [bit]
                cell["port_directions"][port] = "input"
    return removed
