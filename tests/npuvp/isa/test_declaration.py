"""The declaration against the public machine's encodings, and its own faults."""

import copy
import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from npuvp.isa import assemble_text, decode, describe, encode, illegal_reason, load, overview
from npuvp.isa.declaration import DECLARATION, DeclarationError, parse

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def public_rows():
    lines = (HERE / "public_encodings.csv").read_text().splitlines()
    return list(csv.reader(line for line in lines if not line.startswith("#")))


def test_the_public_machine_is_complete():
    declared = {i.name for i in load().instructions if i.source == "plena"}
    assert declared == {row[0] for row in public_rows()}
    assert len(declared) == 53


@pytest.mark.parametrize("row", public_rows(), ids=lambda row: row[0])
def test_public_encodings(row):
    name, opcode, fields, text, word = row
    instruction = load().by_name()[name]
    assert instruction.opcode == int(opcode, 16)
    written = [
        (o.text_field.name if o.text_field else "-") + ("?" if o.optional else "")
        for o in instruction.operands
    ]
    assert written == fields.split()
    assert assemble_text(text).cores[0].words == [int(word, 16)]


def test_what_public_machine_leaves_free_stays_illegal():
    for opcode in (0x00, 0x31, 0x33, 0x3E):
        assert illegal_reason(opcode) == f"opcode 0x{opcode:02x} is unassigned"


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("V_RED_MAX_IDX", (4, 7, 6, 1), 0x38 | 4 << 6 | 7 << 10 | 6 << 14 | 1 << 18),
        ("V_TOPK_MASK", (1, 2, 3, 4, 5), 0x39 | 1 << 6 | 2 << 10 | 3 << 14 | 4 << 18 | 5 << 22),
        ("V_TOPK_MASK", (1, 2, 3, 4), 0x39 | 1 << 6 | 2 << 10 | 3 << 14 | 4 << 18),
        ("V_SELECT_INT", (1, 2, 3, 4, 5), 0x3A | 1 << 6 | 2 << 10 | 3 << 14 | 4 << 18 | 5 << 22),
        ("V_SELECT_VVM", (1, 2, 3, 4), 0x3B | 1 << 6 | 2 << 10 | 3 << 14 | 4 << 18),
        ("S_MAP_V_FP_LEN", (1, 2, 16383, 5), 0x3C | 1 << 6 | 2 << 10 | 5 << 14 | 16383 << 18),
        ("C_BGE", (1, 2, -1), 0x3D | 5 << 6 | 1 << 10 | 2 << 14 | 0x3FFF << 18),
        ("C_JUMP", (-2097152,), 0x3D | 15 << 6 | 1 << 31),
        ("C_FENCE", (0xFFFF,), 0x3F | 0xFFFF << 10 | 8 << 26),
        ("C_CSRW", (31, 9), 0x3F | 9 << 10 | 31 << 14 | 3 << 26),
        (
            "H_COPY",
            (1, 2, 3, 4, 15),
            0x3F | 1 << 6 | 2 << 10 | 3 << 14 | 4 << 18 | 15 << 22 | 25 << 26,
        ),
        ("S_ITOF", (7, 15), 0x3F | 7 << 6 | 15 << 10 | 63 << 26),
    ],
)
def test_extension_encodings(name, values, word):
    assert encode(name, *values) == word


def test_every_example_assembles_to_its_instruction():
    for instruction in load().instructions:
        (word,) = assemble_text(instruction.example).cores[0].words
        assert decode(word).instruction.name == instruction.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("V_FOO",), "no instruction is called 'V_FOO'"),
        (("S_ADD_FP", 1, 8, 2), "f8 does not exist (f0..f7 do)"),
        (("S_ADDI_INT", 1, 0, 1 << 18), "imm is 262144 (allowed: 0..262143)"),
        (("S_ADDI_INT", 1, 0, -1), "imm is -1 (allowed: 0..262143)"),
        (("C_LOOP_START", 1, 0), "imm is 0 (allowed: 1..4194303)"),
        (("C_BEQ", 1, 2, 8192), "target is 8192 (allowed: -8192..8191)"),
        (("C_CSRW", 0, 1), "CSR core_id is read-only"),
        (("C_CSRR", 1, 6), "no CSR has number 6"),
        (("S_ADD_FP", 1, 2), "2 operands given"),
    ],
)
def test_encode_refuses(arguments, message):
    with pytest.raises(ValueError) as caught:
        encode(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["instructions"][0].update(opcode=2), "M_TMM and M_MM share an encoding"),
        (lambda r: r["instructions"][0].pop("unit"), "M_MM: unit is missing"),
        (lambda r: r["instructions"][0].update(colour=1), "M_MM: unknown key 'colour'"),
        (lambda r: r["instructions"][0].update(timing="fast"), "M_MM: timing: 'fast' (allowed:"),
        (
            lambda r: r["instructions"][0]["operands"][1].update(field="rs2"),
            "M_MM: gpV overlaps another operand",
        ),
        (lambda r: r["csrs"][1].update(number=0), "csr number 0 twice"),
        (
            lambda r: r["instructions"][0]["operands"][1].update(count="gpZ"),
            "M_MM: count 'gpZ' names no operand",
        ),
    ],
)
def test_contradictions_of_the_declaration_are_named(change, message):
    raw = copy.deepcopy(yaml.safe_load(DECLARATION.read_text()))
    change(raw)
    with pytest.raises(DeclarationError) as caught:
        parse(raw)
    assert message in str(caught.value)


def test_reference_page_is_fresh(tmp_path):
    page = tmp_path / "isa.md"
    tool = ROOT / "tools" / "generate_isa.py"
    subprocess.run([sys.executable, tool, "--doc", page], check=True)
    assert page.read_text() == (ROOT / "docs" / "isa.md").read_text()
    for instruction in load().instructions:
        assert f"\n### {instruction.name}" in page.read_text()


def test_reference_on_the_command_line():
    assert "opcode=0x38" in describe(load(), "v_red_max_idx")
    assert describe(load(), "S_MAP_V_FP").count("S_MAP_V_FP gpD, gpA, imm") == 2
    assert "number 19, rw" in describe(load(), "dma_len")
    with pytest.raises(ValueError, match="near: V_RED_MAX"):
        describe(load(), "V_RED_MAXX")
    assert len(overview(load()).splitlines()) == len(load().instructions) + 5
