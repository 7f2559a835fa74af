"""The disassembler: words to source text that assembles to the same words."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping

from npuvp.firmware import ALL_CORES, DataSegment, Firmware, Tensor
from npuvp.isa.declaration import Operand, load
from npuvp.isa.encoding import DecodedWord, decode, illegal_reason
from npuvp.isa.expressions import bfloat16_bits

__all__ = ["disassemble", "disassemble_words", "instruction_text"]

PREFIX = {"gp": "gp", "fp": "f", "ha": "a"}


def _operand(operand: Operand, value: int, pc: int, labels: Mapping[int, str]) -> str:
    if operand.is_register:
        return f"{PREFIX[operand.kind]}{value}"
    if operand.kind == "csr":
        return next(csr.name for csr in load().csrs if csr.number == value)
    if operand.kind == "rel":
        return labels.get(pc + value, f".{value:+d}")
    return next((name for name, number in operand.values.items() if number == value), str(value))


def _text(decoded: DecodedWord, pc: int, labels: Mapping[int, str]) -> str:
    instruction = decoded.instruction
    shown = len(instruction.operands)
    while shown > instruction.required and decoded.values[shown - 1] == 0:
        shown -= 1
    pairs = zip(instruction.operands[:shown], decoded.values, strict=False)
    operands = ", ".join(_operand(operand, value, pc, labels) for operand, value in pairs)
    return f"{instruction.text} {operands}".rstrip()


def instruction_text(word: int, pc: int = 0, labels: Mapping[int, str] | None = None) -> str:
    """Assembly text of one word; `.word` where no instruction's text has exactly these bits.

    Args:
        word: 32 bits.
        pc: its word address; matters with `labels` only.
        labels: names of branch targets by word address.
    """
    decoded = decode(word)
    if decoded is None:
        return f".word 0x{word:08x}    // {illegal_reason(word)}"
    text = _text(decoded, pc, labels or {})
    if decoded.ignored:
        return f".word 0x{word:08x}    // {text}, with ignored bits 0x{decoded.ignored:08x}"
    return text


def _targets(words: list[int]) -> set[int]:
    targets = set()
    for pc, word in enumerate(words):
        decoded = decode(word)
        if decoded is None:
            continue
        for operand, value in zip(decoded.instruction.operands, decoded.values, strict=True):
            if operand.kind == "rel" and 0 <= pc + value <= len(words):
                targets.add(pc + value)
    return targets


def disassemble_words(words: Iterable[int], labels: Mapping[int, str] | None = None) -> str:
    """Source text of a program; targets without a name in `labels` are called `L` and a number."""
    listed = list(words)
    names = dict(labels or {})
    taken = set(names.values())
    for target in sorted(_targets(listed)):
        if target not in names:
            name = f"L{target}"
            while name in taken:
                name += "_"
            names[target] = name
            taken.add(name)
    lines = []
    for pc, word in enumerate(listed):
        if pc in names:
            lines.append(f"{names[pc]}:")
        lines.append(f"    {instruction_text(word, pc, names)}")
    if len(listed) in names:
        lines.append(f"{names[len(listed)]}:")
    return "\n".join(lines) + "\n"


def _float_text(bits: int) -> str | None:
    """A literal that reads back as these float32 bits, if there is one."""
    value = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    if math.isnan(value):
        return "nan" if bits == 0x7FC00000 else None
    if bits == 0x80000000:
        return None
    return repr(value)


def _data(segment: DataSegment) -> list[str]:
    lines = [f".data {segment.space}", f".org 0x{segment.address:x}"]
    data = segment.data
    if segment.format == "raw8":
        whole = len(data) // 4 * 4
        lines += [f"    .word 0x{w:08x}" for (w,) in struct.iter_unpack("<I", data[:whole])]
        lines += [f"    .byte 0x{byte:02x}" for byte in data[whole:]]
    elif segment.format == "raw32":
        lines += [f"    .word 0x{w:08x}" for (w,) in struct.iter_unpack("<I", data)]
    elif segment.format == "fp32":
        for (bits,) in struct.iter_unpack("<I", data):
            literal = _float_text(bits)
            lines.append(f"    .float {literal}" if literal else f"    .float_bits 0x{bits:08x}")
    else:
        for (bits,) in struct.iter_unpack("<H", data):
            literal = _float_text(bits << 16)
            if literal is not None and bfloat16_bits(float(literal)) == bits:
                lines.append(f"    .bf16 {literal}")
            else:
                lines.append(f"    .bf16_bits 0x{bits:04x}")
    return lines


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join(map(str, tensor.shape))
    extra = f", block={tensor.block}"
    extra += f", pitch={tensor.pitch}" if tensor.pitch else ""
    extra += f", scales=0x{tensor.scales:x}" if tensor.scales else ""
    return (
        f".tensor {tensor.name}, {tensor.space}, 0x{tensor.address:x}, {tensor.format}, {shape}, "
        f"{tensor.direction}{extra}"
    )


def disassemble(firmware: Firmware) -> str:
    """Source text of a whole firmware: text of every core, data and tensors.

    Images appear as comments, for their contents stand elsewhere.
    """
    lines = [_tensor(tensor) for tensor in firmware.tensors.values()]
    lines += [
        f"// image {image.name} at hbm@0x{image.address:x}, {image.size} bytes, {image.sha256}"
        for image in firmware.images
    ]
    for core, text in sorted(firmware.cores.items()):
        labels: dict[int, str] = {}
        for symbol in firmware.symbols.values():
            if symbol.section == "text" and symbol.core == core:
                labels.setdefault(symbol.value, symbol.name)
        if text.entry:
            labels.setdefault(text.entry, f"entry{text.entry}")
        lines.append(f".core {'all' if core == ALL_CORES else core}")
        if text.entry:
            lines.append(f".entry {labels[text.entry]}")
        lines.append(disassemble_words(text.words, labels).rstrip("\n"))
    for segment in firmware.segments:
        lines += _data(segment)
    return "\n".join(lines) + "\n"
