"""The machine language: declaration, assembler, disassembler, reference."""

from npuvp.isa.declaration import Csr, Instruction, Isa, Operand, load

__all__ = ["Csr", "Instruction", "Isa", "Operand", "load"]
