"""`npuvp asm`, `npuvp disasm`, `npuvp isa`."""

import argparse
from pathlib import Path

from npuvp.cli.common import Subparsers, add_command
from npuvp.cli.programs import defines, load_program
from npuvp.isa import assemble, load
from npuvp.isa.disassembler import disassemble
from npuvp.isa.reference import describe, overview

__all__ = ["add_commands"]


def _asm(options: argparse.Namespace) -> None:
    firmware = assemble(
        options.source, defines=defines(options.define), include_paths=options.include
    )
    for warning in firmware.warnings:
        print(f"warning: {warning}")
    path = firmware.save(options.output or Path(options.source).with_suffix(".elf"))
    words = sum(len(text.words) for text in firmware.cores.values())
    print(f"{words} words, {len(firmware.tensors)} tensors: {path}")


def _disasm(options: argparse.Namespace) -> None:
    print(disassemble(load_program(options.firmware, [])), end="")


def _isa(options: argparse.Namespace) -> None:
    isa = load()
    print(describe(isa, options.mnemonic) if options.mnemonic else overview(isa))


def add_commands(commands: Subparsers) -> None:
    """Adds the commands."""
    asm = add_command(
        commands, "asm", _asm, "assemble a source file to firmware", "npuvp asm sum.s -o sum.elf"
    )
    asm.add_argument("source", metavar="FILE", help="assembly source")
    asm.add_argument("-o", "--output", metavar="FW", help="firmware (ELF); default: FILE with .elf")
    asm.add_argument("-D", "--define", action="append", default=[], metavar="NAME=VALUE")
    asm.add_argument("-I", "--include", action="append", default=[], metavar="FOLDER")
    disasm = add_command(
        commands, "disasm", _disasm, "print a firmware as assembly", "npuvp disasm sum.elf"
    )
    disasm.add_argument("firmware", metavar="FW", help="ELF, raw words or source")
    isa = add_command(commands, "isa", _isa, "describe the instructions", "npuvp isa V_RED_MAX_IDX")
    isa.add_argument("mnemonic", nargs="?", metavar="MNEMONIC", help="one instruction; else all")
