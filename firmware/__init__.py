"""Firmware of the sequencer: assembler, disassembler, timeline prover, builder, images, sheets.

>>> from quantacore.firmware import assemble, prove
>>> assembly = assemble("li r1, 3\\nhalt")
>>> prove(assembly).ok
True
"""

from quantacore.firmware.assembler import assemble, assemble_file
from quantacore.firmware.assembly import Assembly, Interval, Parameter
from quantacore.firmware.builder import Program
from quantacore.firmware.diagnostics import AssemblyError, Diagnostic
from quantacore.firmware.disassembler import disassemble
from quantacore.firmware.image import Image, ImageError, upload_words
from quantacore.firmware.prover import Proof, ProofError, prove
from quantacore.firmware.words import Instruction, Pair, R, WordError, decode, encode

__all__ = [
    "assemble", "assemble_file", "Assembly", "Interval", "Parameter", "AssemblyError", "Diagnostic",
    "disassemble", "prove", "Proof", "ProofError", "Image", "ImageError", "upload_words",
    "Instruction", "Pair", "Program", "R", "WordError", "decode", "encode",
]
