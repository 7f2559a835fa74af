"""The machine language: declaration, assembler, disassembler, reference."""

from npuvp.isa.assembler import assemble, assemble_text
from npuvp.isa.declaration import Csr, Instruction, Isa, Operand, load
from npuvp.isa.disassembler import disassemble, disassemble_words, instruction_text
from npuvp.isa.encoding import DecodedWord, decode, encode, illegal_reason
from npuvp.isa.errors import AssemblyError, Diagnostic, Location
from npuvp.isa.reference import describe, overview

__all__ = [
    "AssemblyError",
    "Csr",
    "DecodedWord",
    "Diagnostic",
    "Instruction",
    "Isa",
    "Location",
    "Operand",
    "assemble",
    "assemble_text",
    "decode",
    "describe",
    "disassemble",
    "disassemble_words",
    "encode",
    "illegal_reason",
    "instruction_text",
    "load",
    "overview",
]
