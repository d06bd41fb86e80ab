"""The lowest bit that is set."""

from amaranth import *

__all__ = ["lowest_set"]


def lowest_set(m, bits):
    """Number of the lowest bit of ``bits`` that is set, by a tree; garbage where none is.

    Parameters
    ----------
    m : Module
        Takes the tree's nodes.
    bits : Value
        2 bits or more.

    Returns
    -------
    Signal
        ``ceil(log2(len(bits)))`` bits.
    """
    def tree(bits):
        any_set = Signal(name=f"any_of_{len(bits)}")
        if len(bits) == 1:
            m.d.comb += any_set.eq(bits)
            return any_set, Const(0, 0)
        half = len(bits) // 2
        low, low_index = tree(bits[:half])
        high, high_index = tree(bits[half:])
        index = Signal(len(low_index) + 1, name=f"lowest_of_{len(bits)}")
        m.d.comb += [
            any_set.eq(low | high), index.eq(Cat(Mux(low, low_index, high_index), ~low)),
        ]
        return any_set, index

    bits = Value.cast(bits)
    return tree(Cat(bits, Const(0, (1 << (len(bits) - 1).bit_length()) - len(bits))))[1]
