"""Disassembling and assembling again gives the same words."""

from hypothesis import given, settings
from hypothesis import strategies as st

from npuvp.isa import (
    assemble_text,
    decode,
    disassemble,
    disassemble_words,
    encode,
    instruction_text,
    load,
)

WORDS = st.integers(0, 0xFFFFFFFF)


def legal_words():
    """Words of every instruction with random operands."""

    @st.composite
    def build(draw):
        instruction = draw(st.sampled_from(load().instructions))
        values = []
        for operand in instruction.operands:
            if operand.kind == "csr":
                csrs = [
                    c.number for c in load().csrs if operand.role != "write" or c.access == "rw"
                ]
                values.append(draw(st.sampled_from(csrs)))
            elif operand.closed:
                values.append(draw(st.sampled_from(sorted(operand.values.values()))))
            else:
                low, high = operand.bounds()
                edges = st.sampled_from([low, high])
                values.append(draw(edges | st.integers(low, high)))
        return encode(instruction.name, *values)

    return build()


def again(text):
    return assemble_text(text).cores[0].words


@settings(max_examples=300, deadline=None)
@given(st.lists(legal_words(), min_size=1, max_size=20))
def test_legal_words_come_back_as_instructions(words):
    text = disassemble_words(words)
    assert ".word" not in text
    assert again(text) == words


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=20))
def test_any_words_come_back(words):
    assert again(disassemble_words(words)) == words


@settings(max_examples=300, deadline=None)
@given(WORDS)
def test_a_single_word_comes_back(word):
    assert again(instruction_text(word)) == [word]


@given(WORDS)
def test_decode_is_the_inverse_of_encode(word):
    decoded = decode(word)
    if decoded is not None:
        assert encode(decoded.instruction.name, *decoded.values) == word & ~decoded.ignored


def test_texts():
    assert instruction_text(encode("V_CMP_VF", 1, 2, 3, 5)) == "V_CMP_VF gp1, gp2, f3, ge"
    assert instruction_text(encode("C_CSRW", 19, 4)) == "C_CSRW dma_len, gp4"
    assert instruction_text(encode("C_BEQ", 1, 2, -4)) == "C_BEQ gp1, gp2, .-4"
    assert instruction_text(encode("C_BEQ", 1, 2, -4), 10, {6: "top"}) == "C_BEQ gp1, gp2, top"
    assert instruction_text(0x31) == ".word 0x00000031    // opcode 0x31 is unassigned"
    assert instruction_text(encode("S_ADD_INT", 1, 2, 3) | 1 << 31) == (
        ".word 0x8000c861    // S_ADD_INT gp1, gp2, gp3, with ignored bits 0x80000000"
    )
    assert disassemble_words([encode("C_JUMP", 1), 0]) == (
        "    C_JUMP L1\nL1:\n    .word 0x00000000    // opcode 0x00 is unassigned\n"
    )


def test_a_whole_firmware_comes_back():
    text = """
    .tensor logits, hbm, 64, mxfp8_e4m3, 2, 40, in, block=16
    .tensor out, core1.int, 3, raw32, 2, out
    .core 0
    NOP
    start: C_BNE gp1, gp2, start
    .entry start
    .core 1
    C_HALT gp0
    .core all
    C_TRAP gp1
    .data hbm
    .org 5
    .byte 1, 2, 3, 4, 5
    .data core0.fp
    .float 0.1, nan, inf
    .float_bits 0x80000000, 0xffc00001
    .data core0.vector
    .bf16 1.0, nan, -inf
    .bf16_bits 0x8000
    .data core0.int
    .word 0xFFFFFFFF
    """
    one = assemble_text(text)
    two = assemble_text(disassemble(one))
    assert {c: (t.words, t.entry) for c, t in two.cores.items()} == {
        c: (t.words, t.entry) for c, t in one.cores.items()
    }
    assert two.segments == one.segments
    assert two.tensors == one.tensors
