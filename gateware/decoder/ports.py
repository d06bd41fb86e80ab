"""Port layouts that the decoder's blocks share: one engine's working memories."""

from amaranth.lib import data

from quantacore.gateware.layouts.decoder import WEIGHT_BITS, DecoderShape, PartnerKind

__all__ = ["check_shape", "pair_address", "pair_write", "bound_write", "partner_word",
           "exchange_word", "growth_steps"]


def check_shape(shape):
    """Raise :exc:`TypeError` unless ``shape`` is a decoder's."""
    if not isinstance(shape, DecoderShape):
        raise TypeError(f"Shape must be a DecoderShape, not {shape!r}")


def pair_address(shape):
    """Address of the distance of two slots, ``i > j``."""
    return data.StructLayout({"i": shape.slot_bits, "j": shape.slot_bits})


def pair_write(shape):
    """A distance of two slots ``i > j`` to be stored."""
    return data.StructLayout({"valid": 1, "i": shape.slot_bits, "j": shape.slot_bits,
                              "weight": WEIGHT_BITS, "obs": shape.observables})


def bound_write(shape):
    """A slot's distance to the boundary, to be stored."""
    return data.StructLayout({"valid": 1, "slot": shape.slot_bits,
                              "weight": WEIGHT_BITS, "obs": shape.observables})


def partner_word(shape):
    """What a slot was matched with; ``slot`` counts where ``kind`` is ``SLOT``."""
    return data.StructLayout({"kind": PartnerKind, "slot": shape.slot_bits})


def exchange_word(shape):
    """What one engine sends to the other: its shortcuts, and after a window's last one ``end``."""
    return data.StructLayout({"end": 1, "shortcut": shape.shortcut})


def growth_steps(weight):
    """A weight in growth steps, rounded up: an expression of ``BUCKET_BITS + 1`` bits."""
    return (weight + 3) >> 2
