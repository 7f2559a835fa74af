"""The machine's decode table and the Python tools make the same of every word."""

import random
import re

from hypothesis import given, settings
from npuvp._core import decode_word, disassemble_word
from test_disassembler import legal_words

from npuvp.isa import decode, instruction_text, load


def check(word):
    ours, theirs = decode(word), decode_word(word)
    assert theirs["legal"] == (ours is not None), hex(word)
    if ours is None:
        assert theirs["reason"]
        assert disassemble_word(word) == f".word 0x{word:08x}"
        return
    assert theirs["mnemonic"] == ours.instruction.text
    assert theirs["timing"] == ours.instruction.timing
    assert theirs["unit"] == ours.instruction.unit
    if not ours.ignored:
        assert re.sub(r" <0x\w+>", "", disassemble_word(word)) == instruction_text(word)
    for kind in ("gp", "fp", "ha"):
        for access, roles in (
            ("reads", ("read", "read_write")),
            ("writes", ("write", "read_write")),
        ):
            expected = {
                value
                for operand, value in zip(ours.instruction.operands, ours.values, strict=True)
                if operand.kind == kind and operand.role in roles and (value or kind == "ha")
            }
            if kind == "gp" and access == "writes" and ours.instruction.clobbers_gp:
                expected = set(range(1, 16))
            assert set(theirs[f"{kind}_{access}"]) == expected


@settings(max_examples=500, deadline=None)
@given(legal_words())
def test_legal_words(word):
    check(word)


def test_random_words():
    generator = random.Random(3)
    legal = 0
    for _ in range(20000):
        word = generator.getrandbits(32)
        check(word)
        legal += decode(word) is not None
    assert legal > 2000


def test_every_opcode_and_function():
    for instruction in load().instructions:
        check(instruction.match)
    for x in range(64):
        for opcode in range(64):
            check(opcode | x << 26)
