"""The words that gateware, host, models and documents share, declared once.

``tags`` (sample words, records), ``frames`` (the link), ``registers`` (what a register is),
``identity``, ``link``, ``timing``, ``tagger`` (the blocks' registers), ``node`` (the map),
``export`` (JSON and its CRC), ``documents`` (the manual, SVD). This package
imports nothing else of QuantaCore.
"""
