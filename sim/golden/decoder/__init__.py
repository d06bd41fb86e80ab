"""Golden model of the streaming decoder: a plain form, and the same arithmetic at speed.

:mod:`~quantacore.sim.golden.decoder.plain` is what the gateware must equal bit for bit.
:mod:`~quantacore.sim.golden.decoder.fast` decodes many shots and counts work.
"""
