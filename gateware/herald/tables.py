"""What the herald unit's tables are written with, and memories that are read in the same tick."""

from amaranth import *
from amaranth.lib import data, memory

from quantacore.gateware.layouts.herald import HeraldTable

__all__ = ["TableWrite", "table_memory"]


class TableWrite(data.Struct):
    """A word for a table, and its place there; see
    :class:`~quantacore.gateware.layouts.herald.HeraldTable`."""

    table: HeraldTable
    index: 8
    data: 32


def table_memory(m, name, *, width, depth, init=(), reads=1):
    """A small memory in look-up tables, as a submodule of ``m``.

    Returns
    -------
    write port, list of read ports
        A word is read in the tick in which its address is there, and is the new one from the tick
        after its writing on.
    """
    store = memory.Memory(shape=width, depth=depth, init=list(init),
                          attrs={"ram_style": "distributed"})
    m.submodules[name] = store
    return store.write_port(), [store.read_port(domain="comb") for _ in range(reads)]
