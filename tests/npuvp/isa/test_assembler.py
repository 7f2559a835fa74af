"""The assembly language: every construct, the public dialects, and what goes wrong."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npuvp.firmware import ALL_CORES, DataSegment, Symbol
from npuvp.isa import AssemblyError, assemble, assemble_text, decode, encode


def words(text, **options):
    return assemble_text(text, **options).cores[0].words


def errors(text, **options):
    with pytest.raises(AssemblyError) as caught:
        assemble_text(text, "a.s", **options)
    return [(d.location.line, d.column, d.token, d.message) for d in caught.value.diagnostics]


def li(register, value):
    return encode("S_ADDI_INT", register, 0, value)


# ---------------------------------------------------------------------------------- dialects


def test_public_dialect_with_both_comment_styles_and_placeholders():
    text = """
    ; generated
    // more
    S_ADDI_INT gp1, gp0, 1_000   ; decimal
    M_MM 0, gp1, gp2 // note
    M_MV gp0, gp1, gp2
    M_BTMV 0, gp1, gp2
    C_BREAK
    """
    assert words(text) == [0x22 | 1 << 6 | 1000 << 14, 0x8401, 0x8407, 0x840A, 0x34]


def test_public_mismatches_of_assembler_and_machine():
    assert words("V_EXP_V gp3, gp1, 1") == [0x13 | 3 << 6 | 1 << 10 | 1 << 14]
    assert words("V_RED_SUM f1, gp2, 1") == [0x15 | 1 << 6 | 2 << 10]
    assert words("M_BMM_WO gp3, 64") == [0x05 | 3 << 6 | 64 << 10]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("V_RED_SUM f1, gp2, 0, 0", 0x15 | 1 << 6 | 2 << 10),
        ("V_EXP_V gp3, gp1, 0, 0", 0x13 | 3 << 6 | 1 << 10),
        ("S_RECI_FP f2, f1, 0", 0x1C | 2 << 6 | 1 << 10),
        ("M_MV_WO gp3, gp0, 0", 0x0B | 3 << 6),
        ("H_PREFETCH_V gp1, gp2, a3, 0, 0, 0", 0x29 | 1 << 6 | 2 << 10 | 3 << 14),
        ("S_LD_FP f1, 7, gp2", None),
    ],
)
def test_operands_that_the_public_assembler_drops(text, word):
    if word is None:
        assert errors(text)
    else:
        firmware = assemble_text(text)
        assert firmware.cores[0].words == [word]
        assert firmware.warnings == []


def test_a_dropped_operand_that_matters_is_warned_of():
    assert assemble_text("V_EXP_V gp3, gp1, 0, 1", "x.asm").warnings == [
        "x.asm:1: V_EXP_V: 1 is not encoded"
    ]


def test_diffusion_dialect_takes_hex_registers():
    text = """
    V_RED_MAX_IDX gpA, gpB, gpF, f1 // running maximum
    S_MAP_V_FP gp3, gp0, 0, gpC
    S_MAP_V_FP gp3, gp0, 0
    V_TOPK_MASK gp1, gp2, gp3, gp4
    V_TOPK_MASK gp1, gp2, gp3, gp4, gp5
    S_SELECT_INT gp1, gp1, gp2, gp3, gpD
    C_SET_ADDR_REG aF, gp0, gpE
    """
    assert words(text) == [
        encode("V_RED_MAX_IDX", 10, 11, 15, 1),
        encode("S_MAP_V_FP_LEN", 3, 0, 0, 12),
        encode("S_MAP_V_FP", 3, 0, 0),
        encode("V_TOPK_MASK", 1, 2, 3, 4, 0),
        encode("V_TOPK_MASK", 1, 2, 3, 4, 5),
        encode("V_SELECT_INT", 1, 1, 2, 3, 13),
        encode("C_SET_ADDR_REG", 15, 0, 14),
    ]


# ---------------------------------------------------------------------------------- expressions


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("-7/2+8", 4),
        ("7%4", 3),
        ("1<<4|3", 19),
        ("0xF0&~0x10", 0xE0),
        ("5^1", 4),
        ("min(4,3,9)+max(1,2)", 5),
        ("ceildiv(9,4)", 3),
        ("align(9,4)", 12),
        ("log2(4096)", 12),
        ("clog2(4097)", 13),
        ("hi(0x12345678)", 0x12345),
        ("lo(0x12345678)", 0x678),
        ("f32(0.25)>>24", 0x3E),
        ("bf16(1.0)", 0x3F80),
        ("select(3>2, 10, 20)", 10),
        ("2<3 && 3<=3 || 0", 1),
        ("!5+is_pow2(8)", 1),
        ("defined(N)+defined(M)", 1),
        ("0b101", 5),
        ("007", 7),
        ("N-1", 41),
        ("10-4-3", 3),
        ("100/10/2", 5),
        ("0 && 1/0", 0),
        ("1 || nope", 1),
        ("0 && nope || 7", 1),
        ("min(defined(X) && log2(X), 3)", 0),
    ],
)
def test_expressions(expression, value):
    assert words(f".equ N, 42\nS_ADDI_INT gp1, gp0, {expression}") == [li(1, value)]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1/0", "division by zero"),
        ("log2(12)", "log2(12): not a power of two (clog2 rounds up)"),
        ("foo(1)", "no function 'foo' (there are"),
        ("min(1", "expected ')', found the end"),
        ("1 2", "unexpected '2'"),
        ("", "expected a value, found nothing"),
        ("1.5", "1.5 is not a whole number (f32() gives a bit pattern)"),
        ("ceildiv(1)", "ceildiv takes 2 arguments, not 1"),
        ("nope", "undefined symbol 'nope'"),
        ("@", "'@' is not part of an expression"),
        ("1<<2000", "shift by 2000 (0..1023)"),
        ("262144", "imm is 262144 (allowed: 0..262143)"),
        ("-1", "imm is -1 (allowed: 0..262143)"),
        ("gp1", "imm must be a number, not the register 'gp1'"),
        ("(" * 400 + "1" + ")" * 400, "expression nested too deeply"),
    ],
)
def test_bad_expressions(expression, message):
    ((line, _, _, found),) = errors(f"S_ADDI_INT gp1, gp0, {expression}")
    assert line == 1
    assert found.startswith(message)


# ---------------------------------------------------------------------------------- statements


def test_labels_and_branches_forward_and_backward():
    text = """
    top: S_ADDI_INT gp1, gp1, 1
         C_BEQ gp1, gp2, done
         C_JUMP top
         C_BNE gp1, gp2, .-3
    done:
         C_HALT gp0
    """
    code = words(text)
    assert code[1] == encode("C_BEQ", 1, 2, 3)
    assert code[2] == encode("C_JUMP", -2)
    assert code[3] == encode("C_BNE", 1, 2, -3)


def test_a_plain_number_is_no_branch_target():
    ((_, column, token, message),) = errors("C_JUMP 4")
    assert (column, token) == (8, "4")
    assert message == "target must be a label or an address such as .+4, not '4'"


def test_branch_reach_is_checked_on_both_sides():
    far = "C_BEQ gp1, gp2, end\n" + "NOP\n" * 8190 + "end: NOP"
    assert decode(words(far)[0]).values[2] == 8191
    ((_, _, _, message),) = errors("C_BEQ gp1, gp2, end\n" + "NOP\n" * 8191 + "end: NOP")
    assert message == "target is 8192 (allowed: -8192..8191)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", [li(3, 0)]),
        ("0x3FFFF", [li(3, 0x3FFFF)]),
        ("0x40000", [encode("S_LUI_INT", 3, 0x40)]),
        ("0x40001", [encode("S_LUI_INT", 3, 0x40), encode("S_ADDI_INT", 3, 3, 1)]),
        ("-1", [encode("S_LUI_INT", 3, 0xFFFFF), encode("S_ADDI_INT", 3, 3, 0xFFF)]),
        ("0xFFFFFFFF", [encode("S_LUI_INT", 3, 0xFFFFF), encode("S_ADDI_INT", 3, 3, 0xFFF)]),
    ],
)
def test_li_takes_the_shortest_form(value, expected):
    assert words(f"LI gp3, {value}") == expected


def test_li_range():
    assert errors("LI gp3, 0x100000000")[0][3].startswith("4294967296 (allowed: whole numbers")
    assert errors("LI gp3, -0x80000001")


def test_other_pseudo_instructions():
    assert words("LIA a2, 0x1234, gp1") == [li(1, 0x1234), encode("C_SET_ADDR_REG", 2, 0, 1)]
    assert words("LIA a2, 0x500001234, gp1, gp2") == [
        li(2, 5),
        li(1, 0x1234),
        encode("C_SET_ADDR_REG", 2, 2, 1),
    ]
    assert "a second register is needed" in errors("LIA a2, 0x500001234, gp1")[0][3]
    assert words("LIF f1, -inf, gp4") == [
        encode("S_LUI_INT", 4, 0xFF800),
        encode("S_SET_FP", 1, 4),
    ]
    assert words("MV gp1, gp2\nNOP") == [encode("S_ADDI_INT", 1, 2, 0), li(0, 0)]


def test_constants_variables_defaults_and_register_names():
    text = """
    .default N, 5
    .default M, 6
    .equ later, N + end      ; a label that follows
    .reg count, gp9
    .set i, 1
    S_ADDI_INT count, gp0, i
    .set i, i + 1
    S_ADDI_INT count, gp0, i
    S_ADDI_INT count, gp0, later
    S_ADDI_INT count, gp0, M
    end:
    """
    assert words(text, defines={"N": 100}) == [li(9, 1), li(9, 2), li(9, 104), li(9, 6)]


def test_a_variable_has_the_value_of_its_place_even_beside_a_forward_label():
    text = ".set i, 1\nS_ADDI_INT gp1, gp0, end+i\n.set i, 50\nend:"
    assert words(text) == [li(1, 2)]


def test_macros_with_defaults_named_arguments_and_unique_labels():
    text = """
    .macro wait reg, n=3
    again\\@:
      S_ADDI_INT \\reg, \\reg, \\n
      C_BNE \\reg, gp0, again\\@
    .endm
    wait gp1
    wait n=min(4, 5), reg=gp2
    """
    assert words(text) == [
        encode("S_ADDI_INT", 1, 1, 3),
        encode("C_BNE", 1, 0, -1),
        encode("S_ADDI_INT", 2, 2, 4),
        encode("C_BNE", 2, 0, -1),
    ]


def test_macro_errors_name_the_call():
    text = ".macro m a\n  S_ADDI_INT gp1, gp0, \\a\n.endm\n\nm 999999\n"
    with pytest.raises(AssemblyError) as caught:
        assemble_text(text, "f.s")
    message = str(caught.value)
    assert "f.s:2:24: imm is 999999 (allowed: 0..262143)" in message
    assert "f.s:5: in macro m" in message
    assert errors(".macro m a\n.endm\nm")[0][3] == "macro m: argument a is missing"
    assert "takes 1 arguments (a), not 2" in errors(".macro m a\n.endm\nm 1, 2")[0][3]
    assert errors(".macro m\nNOP")[0][3] == ".macro without .endm"
    assert "nested more than" in errors(".macro m\nm\n.endm\nm")[0][3]


def test_repetition():
    assert words(".rept 3, i\nS_ADDI_INT gp1, gp0, \\i*10\n.endr") == [
        li(1, 0),
        li(1, 10),
        li(1, 20),
    ]
    assert words(".irp r, gp1, gp2\nS_ADDI_INT \\r, gp0, 7\n.endr") == [li(1, 7), li(2, 7)]
    nested = ".rept 2, i\n.rept 2, j\nS_ADDI_INT gp1, gp0, \\i*2+\\j\n.endr\n.endr"
    assert words(nested) == [li(1, n) for n in range(4)]
    assert words('.rept 0\n.error "no"\n.endr\nNOP') == [li(0, 0)]


@pytest.mark.parametrize(("n", "expected"), [(1, 10), (2, 20), (3, 30), (4, 40)])
def test_conditions(n, expected):
    text = """
    .if N == 1
      S_ADDI_INT gp1, gp0, 10
    .elseif N == 2
      S_ADDI_INT gp1, gp0, 20
    .else
      .if N == 3
        S_ADDI_INT gp1, gp0, 30
      .else
        S_ADDI_INT gp1, gp0, 40
      .endif
    .endif
    """
    assert words(text, defines={"N": n}) == [li(1, expected)]


def test_skipped_lines_are_not_read():
    assert words('.if 0\n nonsense 1,,2\n .error "no"\n.endif\nNOP') == [li(0, 0)]


def test_include_and_incbin(tmp_path):
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "c.s").write_text(".equ N, 9\n")
    (tmp_path / "d.bin").write_bytes(b"\x01\x02\x03")
    main = tmp_path / "m.s"
    main.write_text(
        '.include "c.s"\nS_ADDI_INT gp1, gp0, N\n.data hbm\n.org 16\n.incbin "d.bin"\n.byte 4\n'
    )
    firmware = assemble(main, include_paths=[tmp_path / "inc"])
    assert firmware.cores[0].words == [li(1, 9)]
    assert firmware.segments == [DataSegment("hbm", 16, "raw8", b"\x01\x02\x03\x04")]
    assert set(firmware.sources) == {str(main), str(tmp_path / "inc" / "c.s")}
    main.write_text('.include "x.s"')
    with pytest.raises(AssemblyError, match=r"no file 'x\.s' in"):
        assemble(main)
    main.write_text('.include "m.s"')
    with pytest.raises(AssemblyError, match="nested more than 100 deep"):
        assemble(main)


# ---------------------------------------------------------------------------------- sections


def test_data_in_every_space():
    text = """
    .data hbm
    .org 0x100
    .word 1, -1, later
    .half 0x1234
    .byte 255
    .align 8
    .float 1.5
    .bf16 -2
    .zero 2
    .data core1.fp
    .float 0.5, -inf
    .bf16 1.0
    .data core0.int
    .space 4
    .word 7
    table: .word 8
    .data vector
    .float_bits 0x7fc00001
    .zero 2
    .equ later, 5
    .text
    S_ADDI_INT gp1, gp0, table
    """
    firmware = assemble_text(text)
    assert firmware.segments == [
        DataSegment("hbm", 0x100, "raw8", struct.pack("<IIIHB", 1, 0xFFFFFFFF, 5, 0x1234, 255)),
        DataSegment("hbm", 0x110, "raw8", struct.pack("<f", 1.5) + b"\x00\xc0" + b"\0\0"),
        DataSegment("core1.fp", 0, "fp32", struct.pack("<ff", 0.5, float("-inf"))),
        DataSegment("core1.fp", 2, "bf16", b"\x80\x3f"),
        DataSegment("core0.int", 4, "raw32", struct.pack("<II", 7, 8)),
        DataSegment("core0.vector", 0, "fp32", struct.pack("<III", 0x7FC00001, 0, 0)),
    ]
    assert firmware.cores[0].words == [li(1, 5)]
    assert firmware.symbols["table"] == Symbol("table", 5, "core0.int", -1)


def test_cores_have_their_own_text_and_labels():
    text = """
    loop: C_JUMP loop
    .core 2..3
    NOP
    loop: C_JUMP loop
    .entry loop
    .core all
    C_HALT gp0
    """
    firmware = assemble_text(text)
    assert sorted(firmware.cores) == [ALL_CORES, 0, 2, 3]
    assert firmware.cores[0].words == [encode("C_JUMP", 0)]
    assert firmware.cores[2].words == firmware.cores[3].words == [li(0, 0), encode("C_JUMP", 0)]
    assert firmware.cores[2].entry == 1
    assert firmware.text(9).words == [encode("C_HALT", 0)]
    assert firmware.symbols["loop"].value == 0
    assert firmware.symbols["core2:loop"].value == 1


@pytest.mark.parametrize("alias", ["int32", "uint32"])
def test_words_have_other_names(alias):
    source = f".tensor tokens, core0.int, 0, {alias}, 4, inout\n C_HALT gp0"
    assert assemble(source).tensors["tokens"].format == "raw32"
    with pytest.raises(AssemblyError, match=r"format 'int16' \(allowed: .*raw8, int32, uint32\)"):
        assemble(source.replace(alias, "int16"))


def test_tensors_become_symbols():
    text = """
    .equ B, 2
    .tensor logits, hbm, auto, mxfp8_e4m3, B, 3, 100, in, block=32
    .tensor cache, hbm, auto, mxint4, 5, 33, inout, pitch=20
    .tensor tokens, int, 16, raw32, B, 3, out
    LIA a0, logits, gp1
    LI gp2, logits.scales - logits
    LI gp3, cache
    LI gp4, cache.pitch
    LI gp5, tokens
    """
    firmware = assemble_text(text)
    logits, cache, tokens = firmware.tensors.values()
    assert (logits.shape, logits.size, logits.scales, logits.scale_size) == (
        (2, 3, 100),
        600,
        600,
        24,
    )
    assert (cache.address, cache.size, cache.scales) == (640, 4 * 20 + 17, 640 + 97)
    assert (tokens.space, tokens.address, tokens.size) == ("core0.int", 16, 6)
    assert firmware.cores[0].words[2:] == [li(2, 600), li(3, 640), li(4, 20), li(5, 16)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".tensor t, hbm, 0, fp8, 4, in", "format 'fp8' (allowed: mxfp8_e4m3"),
        (".tensor t, hbm, 0, bf16, 4, 4", "expected .tensor NAME"),
        (".tensor t, hbm, 0, bf16, 0, in", "0 (allowed: whole numbers 1.."),
        (".tensor t, hbm, 0, bf16, 4, in, pitch=7", "tensor 't': pitch 7 is less than a row (8)"),
        (".tensor t, dram, 0, bf16, 4, in", "'dram' is no space (allowed: hbm, [coreN.]vector"),
        (".tensor t, hbm, 0, bf16, 4, in, block=9", "tensor 't': block 9 (allowed: 8, 16, 32)"),
        (".core all\n.data fp", "fp of which core? (coreN.fp)"),
        (
            ".data core0.int\n.float 1",
            ".float in core0.int (allowed in hbm, vector, matrix and fp)",
        ),
        (".data core0.fp\n.word 1", ".word in core0.fp (allowed: .float, .bf16)"),
        (".data hbm\nNOP", "instruction in a data section (hbm); .text goes back"),
        (".data hbm\n.byte 256", "256 (allowed: whole numbers -128..255)"),
        (".data hbm\n.word 1\n.org 2\n.word 3", "hbm: data up to 0x4 overlaps data from 0x2 on"),
        ("NOP\nNOP\n.org 1", "address 1 (allowed: 2..4194303)"),
        (".half 1", ".half in .text (.word can)"),
        (".core 0\nNOP\n.core 0..1\nNOP", "core 0 has text in two .core sections"),
        ("a: NOP\na: NOP", "a is already defined"),
        (".equ gp3, 1", "gp3 is a register or mnemonic"),
        (".equ a, b\n.equ b, a\nLI gp1, a", "a is defined by itself"),
        ('.assert 1 == 2, "sizes differ"', "sizes differ (1 == 2 does not hold)"),
        (
            '.error "VLEN must be a power of two; it is not"',
            "VLEN must be a power of two; it is not",
        ),
        (".else", ".else without .if"),
        (".endif", ".endif without .if"),
        (".if 1", ".if without .endif"),
        (".endr", ".endr without .rept or .irp"),
        (".foo", "no directive '.foo'"),
        (".wrod 1", "no directive '.wrod' (did you mean .word"),
        (
            "V_ADDVV gp1, gp2, gp3",
            "'V_ADDVV' is no instruction, macro or directive (did you mean V_ADD_VV",
        ),
        (
            "v_add_vv gp1, gp2, gp3",
            "'v_add_vv' is no instruction, macro or directive (did you mean V_ADD_VV",
        ),
        (".entry nowhere\nNOP", "undefined symbol 'nowhere'"),
        ("S_ADD_INT gp16, gp1, gp2", "gp16 does not exist (gp0..gp15 do)"),
        ("S_ADD_FP f8, f1, f2", "f8 does not exist (f0..f7 do)"),
        ("S_ADD_FP f1, gp1, f2", "fA must be an FP register f0..f7, not 'gp1'"),
        ("C_CSRW core_id, gp1", "CSR core_id is read-only"),
        ("C_CSRR gp1, foo", "no CSR is called 'foo'"),
        ("V_CMP_VV gp1, gp2, gp3, 6", "cond is 6 (allowed: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge)"),
        ("C_LOOP_START gp1, 0", "imm is 0 (allowed: 1..4194303)"),
        ("M_BMM 1, gp1, gp2", "the placeholder is 1 (allowed: 0..0)"),
        ("V_SUB_VF gp1, gp2, f3", "m is missing; expected V_SUB_VF gpD, gpA, fB, m, order"),
        ("S_ADD_INT gp1", "1 operands; expected S_ADD_INT gpD, gpA, gpB"),
    ],
)
def test_every_mistake_is_named(text, message):
    found = errors(text)
    assert any(m.startswith(message) for *_, m in found), found


def test_all_errors_are_reported_together_with_place_and_token():
    text = "NOP\n  S_ADDI_INT gp1, gp99, 5\nS_ADD_INT gp1, nope, gp2\n\tLI gp1, missing\n"
    assert errors(text) == [
        (2, 19, "gp99", "gp99 does not exist (gp0..gp15 do)"),
        (3, 16, "nope", "gpA must be an integer register gp0..gp15, not 'nope'"),
        (4, 10, "missing", "undefined symbol 'missing'"),
    ]


def test_reporting_stops_at_a_limit():
    with pytest.raises(AssemblyError, match="and 15 more") as caught:
        assemble_text("BAD\n" * 20, max_errors=5)
    assert len(caught.value.diagnostics) == 5


def test_message_shows_the_line_and_a_marker():
    with pytest.raises(AssemblyError) as caught:
        assemble_text("  S_ADDI_INT gp1, gp0, 1<<20", "f.s")
    assert str(caught.value) == (
        "f.s:1:24: imm is 1048576 (allowed: 0..262143)\n"
        "      S_ADDI_INT gp1, gp0, 1<<20\n"
        "                           ^^^^^"
    )


def test_defines_are_checked():
    with pytest.raises(ValueError, match="'gp1' is no name"):
        assemble_text("NOP", defines={"gp1": 1})
    with pytest.raises(TypeError, match="N is 'x', not a number"):
        assemble_text("NOP", defines={"N": "x"})


def test_words_remember_their_lines_through_macros():
    text = ".macro m\n  NOP\n  NOP\n.endm\nNOP\nm\n"
    firmware = assemble_text(text, "f.s")
    assert [str(firmware.location(0, pc)) for pc in range(3)] == ["f.s:5", "f.s:2", "f.s:3"]
    assert [str(f) for f in firmware.location(0, 1).frames()] == ["f.s:2", "f.s:6"]
    assert firmware.location(0, 3) is None
    assert firmware.source_line(firmware.location(0, 1)) == "  NOP"


def test_a_runaway_repetition_ends():
    text = ".rept 1000000\n" + "NOP\n" * 6 + ".endr"
    with pytest.raises(AssemblyError, match="expands to more than"):
        import npuvp.isa.source as source

        limit, source.MAX_LINES = source.MAX_LINES, 1000
        try:
            assemble_text(text)
        finally:
            source.MAX_LINES = limit


PIECES = st.sampled_from(
    [
        *("S_ADDI_INT", "V_ADD_VV", "C_BNE", "LI", "LIA", "LIF", "C_CSRW", "C_MARK", "NOP", "M_MM"),
        *(".macro", ".endm", ".rept", ".endr", ".irp", ".if", ".elseif", ".else", ".endif", ".equ"),
        *(
            ".set",
            ".reg",
            ".default",
            ".data",
            ".core",
            ".org",
            ".align",
            ".word",
            ".float",
            ".zero",
        ),
        *(".tensor", ".entry", ".include", ".incbin", ".image", ".assert", ".error", ".space"),
        *("gp1", "gpF", "f3", "a2", "gp16", "hbm", "core0.fp", "int", "all", "0..3", "in", "auto"),
        *("0", "1", "-1", "0x10", "1.5", "inf", "nan", "99999999999", "1e400", "bf16", "mxint4"),
        *(
            "a",
            "b",
            "a:",
            "b:",
            ".",
            "\\a",
            "\\@",
            ",",
            ",",
            ",",
            "(",
            ")",
            "+",
            "-",
            "/",
            "%",
            "<<",
        ),
        *(
            '"x"',
            '"',
            ";",
            "//",
            "=",
            "hi(",
            "log2(",
            "defined(",
            "min(",
            "\n",
            "\n",
            "\n",
            " ",
            "\t",
        ),
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=40))
def test_any_text_assembles_or_is_refused_with_places(pieces):
    text = " ".join(pieces)
    try:
        firmware = assemble_text(text, defines={"N": 3})
    except AssemblyError as error:
        assert error.diagnostics
        assert all(d.column >= 1 and d.message for d in error.diagnostics)
    else:
        firmware.check()
