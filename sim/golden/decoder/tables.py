"""An image's words, taken apart by the layouts' fields."""

import numpy as np

from quantacore.gateware.layouts.decoder import BASES, Table

__all__ = ["columns", "unpack"]


def unpack(layout, word):
    """The fields of a word, as a dict of integers."""
    values = {}
    for name, field in layout:
        value = word >> field.offset & ((1 << field.width) - 1)
        if getattr(field.shape, "signed", False) and value >> (field.width - 1):
            value -= 1 << field.width
        values[name] = value
    return values


def columns(image):
    """Every table of an image as one int64 array per field.

    Parameters
    ----------
    image : DecoderImage

    Returns
    -------
    dict of (Table, str) to numpy.ndarray
        Arrays of shape ``(bases, depth)``; a table that the build does not have has depth 1.
    """
    image.check()
    found = {}
    for table in Table:
        layout = image.shape.table_word(table)
        words = np.array([image.words(basis, table) or [0] for basis in range(BASES)],
                         dtype=np.uint64)
        for name, field in layout:
            mask = np.uint64((1 << field.width) - 1)
            values = (words >> np.uint64(field.offset) & mask).astype(np.int64)
            if getattr(field.shape, "signed", False):
                values -= (values >> (field.width - 1)) << field.width
            found[table, name] = values
    return found
