"""Decoder images that no model has: a decoder must treat their words by its rules all the same."""

from quantacore.gateware.layouts.decoder import NONE, DecoderImage, DecoderShape, Table

__all__ = ["pack", "random_image"]


def pack(layout, **fields):
    """A word of ``layout``, as an integer."""
    word = 0
    for name, value in fields.items():
        field = layout[name]
        word |= (int(value) & ((1 << field.width) - 1)) << field.offset
    return word


def random_image(rng, *, shape=None):
    """An image of random words: no distances of anything, every rule of the decoder in use.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : DecoderShape, optional
        Default: a random one.
    """
    shape = shape or DecoderShape(
        space_bits=int(rng.integers(1, 4)), delta_bits=int(rng.integers(0, 4)),
        observables=int(rng.integers(1, 9)), capacity=int(rng.choice([8, 16, 32])),
        cluster=int(rng.integers(2, 9)), edge_bits=3, shortcut_bits=4, time_bits=4,
        event_bits=int(rng.integers(5, 9)), sites=int(rng.integers(0, 4)))
    masks = 1 << shape.observables
    spaces = 1 << shape.space_bits
    top = int(rng.choice([20, 80, 254]))

    def weight():
        return NONE if rng.random() < 0.1 else int(rng.integers(0, top + 1))

    def run():
        start = int(rng.integers(0, 16))
        return {"start": start, "count": int(rng.integers(0, min(4, 16 - start) + 1))}

    makers = {
        Table.PAIR: lambda: {"weight": weight(), "obs": rng.integers(masks)},
        Table.HOP: lambda: {"edge": rng.integers(8), "at_b": rng.integers(2)},
        Table.BOUND: lambda: {"weight": weight(), "obs": rng.integers(masks),
                              "edge": rng.integers(8), "at_b": rng.integers(2)},
        Table.EDGE: lambda: {"a": rng.integers(spaces), "b": rng.integers(spaces),
                             "delta": rng.integers(2), "boundary": rng.random() < 0.4, **run()},
        Table.SHORT: lambda: {"u": rng.integers(spaces), "u_layer": rng.integers(-2, 3),
                              "v": rng.integers(spaces), "v_layer": rng.integers(-2, 3),
                              "boundary": rng.random() < 0.3, "weight": rng.integers(0, 30),
                              "obs": rng.integers(masks)},
        Table.ERASE: run,
    }
    tables = {(basis, table): [pack(shape.table_word(table), **make())
                               for _ in range(shape.table_depth(table))]
              for basis in range(2) for table, make in makers.items()}
    return DecoderImage(shape, tables, {"commit": 3, "buffer": 3, "reach": 200}, {})
