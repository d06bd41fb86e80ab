"""The lowest bit that is set."""

from amaranth import *

__all__ = ["lowest_set"]


def lowest_set(bits):
    """Number of the lowest bit of ``bits`` that is set, by a tree; garbage where none is.

    Parameters
    ----------
    bits : Value
        At least 2 bits; any number that is not a power of two is filled up with zeros.

    Returns
    -------
    Value
        ``ceil(log2(len(bits)))`` bits.
    """
    def tree(bits):
        if len(bits) == 1:
            return bits, Const(0, 0)
        half = len(bits) // 2
        low, low_index = tree(bits[:half])
        high, high_index = tree(bits[half:])
        return low | high, Cat(Mux(low, low_index, high_index), ~low)

    bits = Value.cast(bits)
    return tree(Cat(bits, Const(0, (1 << (len(bits) - 1).bit_length()) - len(bits))))[1]
