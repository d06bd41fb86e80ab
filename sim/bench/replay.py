"""Replay vectors through any component at the speed of Verilator.

One vector of 32-bit pieces per clock goes in, the vectors of the clocks in which a chosen output
is high come out; the loop over clocks is C++. For benchmarks and for runs of millions of clocks.
Built once per component and tool version and kept under
:func:`~quantacore.sim.bench.cosim.build_folder`.
"""

import ctypes
import hashlib
import importlib.metadata
import os
import subprocess

import numpy as np
from amaranth.hdl import Const, Value
from amaranth.lib import wiring

from quantacore.sim.bench.cosim import build_folder
from quantacore.sim.node.verilate import to_verilog, verilator_environment

__all__ = ["Replay"]

_SOURCE = """\
#include <cstdint>
#include <cstring>
#include "V{name}.h"
#include "verilated.h"
double sc_time_stamp() {{ return 0; }}
struct Model {{ VerilatedContext context; V{name} *top; }};
extern "C" {{
Model *replay_new() {{
    Model *m = new Model;
    m->context.randReset(0);
    m->top = new V{name}(&m->context);
    m->top->clk = 0; m->top->rst = 0; m->top->eval();
    return m;
}}
void replay_delete(Model *m) {{ m->top->final(); delete m->top; delete m; }}
void replay_set(Model *m, int port, const uint32_t *v) {{
    switch (port) {{
{setters}
    }}
}}
void replay_get(Model *m, int port, uint32_t *v) {{
    switch (port) {{
{getters}
    }}
}}
/* Per clock: the inputs, settle, note the outputs if `valid` (or always if it is -1), clock edge.
   Returns the number of output vectors; stops early, with `*done` clocks, when `room` is used. */
int64_t replay_run(Model *m, int64_t clocks, const uint32_t *in, const int *in_ports,
                   const int *in_words, int in_count, uint32_t *out, int64_t *when,
                   const int *out_ports, const int *out_words, int out_count, int valid,
                   int64_t room, int64_t *done) {{
    int64_t found = 0;
    int64_t clock = 0;
    for (; clock < clocks && found < room; clock++) {{
        for (int i = 0; i < in_count; i++) {{
            replay_set(m, in_ports[i], in);
            in += in_words[i];
        }}
        m->top->eval();
        uint32_t high[8] = {{1}};
        if (valid >= 0) replay_get(m, valid, high);
        if (high[0]) {{
            for (int i = 0; i < out_count; i++) {{
                replay_get(m, out_ports[i], out);
                out += out_words[i];
            }}
            when[found++] = clock;
        }}
        m->top->clk = 1; m->top->eval();
        m->top->clk = 0;
    }}
    m->top->eval();
    *done = clock;
    return found;
}}
}}
"""


class Replay:
    """A Verilated component that takes vectors.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Top-level module name.

    Attributes
    ----------
    widths : dict
        Bits of each port by its Verilog name (``a.b`` is ``a__b``).
    """

    def __init__(self, component, name):
        self.widths = {"rst": 1}
        for path, _member, port in component.signature.flatten(component):
            value = Value.cast(port)
            if not isinstance(value, Const):
                self.widths["__".join(map(str, path))] = len(value)
        self._inputs = {"rst"} | {
            "__".join(map(str, path)) for path, member, _ in
            component.signature.flatten(component) if member.flow == wiring.In}
        self._ports = {port: index for index, port in enumerate(self.widths)}
        self._library = ctypes.CDLL(str(self._build(component, name)))
        self._library.replay_new.restype = ctypes.c_void_p
        self._library.replay_run.restype = ctypes.c_int64
        self._model = ctypes.c_void_p(self._library.replay_new())

    def __del__(self):
        if getattr(self, "_model", None):
            self._library.replay_delete(self._model)
            self._model = None

    def _build(self, component, name):
        setters, getters = [], []
        for port, index in self._ports.items():
            # Verilator spells the second of two underscores as a code.
            width = self.widths[port]
            field = "m->top->" + port.replace("__", "___05F")
            if width > 64:
                size = 4 * self.words(port)
                set_, get = (f"memcpy(&{field}[0], v, {size});", f"memcpy(v, &{field}[0], {size});")
            elif width > 32:
                set_ = f"{field} = (uint64_t)v[0] | (uint64_t)v[1] << 32;"
                get = f"v[0] = (uint32_t){field}; v[1] = (uint32_t)({field} >> 32);"
            else:
                set_, get = f"{field} = v[0];", f"v[0] = {field};"
            if port in self._inputs:
                setters.append(f"    case {index}: {set_} break;")
            getters.append(f"    case {index}: {get} break;")
        verilog = to_verilog(component, name)
        driver = _SOURCE.format(name=name, setters="\n".join(setters), getters="\n".join(getters))
        version = importlib.metadata.version("verilator")
        digest = hashlib.sha256((verilog + driver + version).encode()).hexdigest()[:16]
        folder = build_folder() / "replay" / f"{name}-{digest}"
        library = folder / f"lib{name}.so"
        if library.exists():
            return library
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.v").write_text(verilog)
        (folder / "driver.cpp").write_text(driver)
        result = subprocess.run(
            ["verilator", "--cc", "--build", "-j", "2", "-O3", "-Wno-fatal", "-Wno-WIDTH",
             "-Wno-UNOPTFLAT", "--x-initial", "0", "--noassert", "--top-module", name,
             "-CFLAGS", "-fPIC", "-MAKEFLAGS", "OPT_FAST=-O2 OPT_GLOBAL=-O2 OPT_SLOW=-O0",
             "--lib-create", name, "-Mdir", ".", f"{name}.v",
             "driver.cpp"],
            cwd=folder, capture_output=True, text=True,
            env={**os.environ, **verilator_environment()})
        if result.returncode or not library.exists():
            raise RuntimeError(f"{name} could not be Verilated in {folder}:\n"
                               f"{result.stdout[-2000:]}{result.stderr[-3000:]}")
        return library

    def words(self, port):
        """32-bit pieces of a port."""
        return -(-self.widths[port] // 32)

    def _number(self, port):
        if port not in self._ports:
            raise KeyError(f"There is no port {port!r}; there are {', '.join(self._ports)}")
        return self._ports[port]

    def set(self, port, value):
        """Drive an input from the next clock on."""
        number = self._number(port)
        if port not in self._inputs:
            raise ValueError(f"Port {port!r} is an output")
        pieces = [(value >> 32 * i) & 0xFFFFFFFF for i in range(self.words(port))]
        self._library.replay_set(self._model, number, (ctypes.c_uint32 * len(pieces))(*pieces))

    def get(self, port):
        """An output as it was left by the last clock edge, with the inputs of that clock."""
        pieces = (ctypes.c_uint32 * self.words(port))()
        self._library.replay_get(self._model, self._number(port), pieces)
        return sum(piece << 32 * i for i, piece in enumerate(pieces))

    def step(self, clocks=1):
        """Let clocks go by."""
        self.run(np.zeros((clocks, 0), np.uint32), [], [], room=clocks)

    def run(self, vectors, inputs, outputs, *, valid=None, room=None):
        """Drive a vector per clock; take the outputs, before the clock edge, while ``valid``.

        Parameters
        ----------
        vectors : (clocks, pieces) uint32
            The inputs of each clock side by side, each in :meth:`words` pieces, lowest first.
        inputs, outputs : list of str
            Ports. Inputs that are not listed keep their value.
        valid : str or None
            Output that says when to take the outputs; ``None`` takes every clock's.
        room : int or None
            At most so many output vectors; reaching it is an error. Default: one per clock.

        Returns
        -------
        clocks : (n,) int64
            Index of the clock of each output vector.
        values : (n, pieces) uint32
        """
        vectors = np.ascontiguousarray(vectors, np.uint32)
        clocks = len(vectors)
        room = clocks if room is None else room
        for port in inputs:
            if port not in self._inputs:
                raise ValueError(f"Port {port!r} is not an input")
        in_words, out_words = ([self.words(port) for port in ports]
                               for ports in (inputs, outputs))
        if vectors.shape != (clocks, sum(in_words)):
            raise ValueError(f"Vectors must have {sum(in_words)} pieces of 32 bits per clock, not "
                             f"shape {vectors.shape}")
        out = np.zeros((room, max(1, sum(out_words))), np.uint32)
        when = np.zeros(room, np.int64)
        done = ctypes.c_int64()

        def integers(values):
            return (ctypes.c_int * max(1, len(values)))(*values)

        def pointer(array, kind):
            return array.ctypes.data_as(ctypes.POINTER(kind))

        found = self._library.replay_run(
            self._model, ctypes.c_int64(clocks), pointer(vectors, ctypes.c_uint32),
            integers([self._number(p) for p in inputs]), integers(in_words), len(inputs),
            pointer(out, ctypes.c_uint32), pointer(when, ctypes.c_int64),
            integers([self._number(p) for p in outputs]), integers(out_words), len(outputs),
            ctypes.c_int(-1 if valid is None else self._number(valid)), ctypes.c_int64(room),
            ctypes.byref(done))
        if done.value < clocks:
            raise RuntimeError(f"More than {room} output vectors, in clock {done.value}")
        return when[:found], out[:found, :sum(out_words)]
