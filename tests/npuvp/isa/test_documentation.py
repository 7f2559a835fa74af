"""The listings of the documentation assemble."""

import re
from pathlib import Path

import pytest

from npuvp.isa import assemble_text, load
from npuvp.isa.assembler import PSEUDO
from npuvp.isa.directives import CONDITIONALS, DIRECTIVES
from npuvp.isa.expressions import FUNCTIONS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "assembly.md").read_text()
LISTINGS = re.findall(r"```asm\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("listing", LISTINGS)
def test_listings_assemble(listing):
    firmware = assemble_text(listing, "assembly.md")
    assert firmware.cores
    assert firmware.warnings == []


def test_the_page_names_everything_there_is():
    assert len(LISTINGS) == 5
    for name in [*DIRECTIVES, *CONDITIONALS, *FUNCTIONS, *PSEUDO]:
        if name not in (".section", ".warning", ".text", ".bf16_bits"):
            assert name in PAGE, name


REASONS = (DOCS / "extensions.md").read_text()
PAIRS = re.findall(r"```asm (\w+) (\d+)\n(.*?)```", REASONS, re.DOTALL)


@pytest.mark.parametrize(("side", "count", "listing"), PAIRS)
def test_reasons_for_extensions_assemble_to_what_they_claim(side, count, listing):
    assert side in ("before", "after")
    assert len(assemble_text(listing, "extensions.md").cores[0].words) == int(count)


def test_every_extension_has_its_reason():
    assert len(PAIRS) == 19
    missing = [
        i.name
        for i in load().instructions
        if i.source == "npuvp" and f"`{i.name}`" not in REASONS and f" {i.name} " not in REASONS
    ]
    # Named as ranges or families in the text.
    assert set(missing) <= {
        "C_BLTU", "C_BGEU", "C_BLT", "H_ST_V", "H_LD_M", "H_SCATTER_V", "V_MIN_VV", "S_MIN_FP",
        "C_CSRW", "C_BGE",
    }  # fmt: skip
