"""The listings of the documentation assemble."""

import re
from pathlib import Path

import pytest

from npuvp.isa import assemble_text
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
