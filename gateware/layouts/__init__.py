"""The words that gateware, host, models and documents share, declared once.

``tags`` (sample words, records), ``frames`` (the link), ``registers`` (what a register is),
``identity``, ``link``, ``timing``, ``tagger``, ``decoder_registers`` (the blocks' registers),
``node`` (the map), ``decoder`` (the decoder's shape, image and records),
``export`` (JSON and its CRC), ``documents`` (the manual, SVD). This package
imports nothing else of QuantaCore.
"""
