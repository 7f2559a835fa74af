"""Words for the values of marks, from a firmware's constants.

``.equ MARK_PHASE_MAXIMUM, 0`` calls the mark ``C_MARK phase, gpA`` of a register that holds 0
"maximum", in waveform, timeline, profile and report.
"""

from npuvp.firmware import Firmware
from npuvp.traces.triggers import MARK_KINDS

__all__ = ["mark_names"]

#: Beyond this many values a kind has no table.
_MOST = 4096


def mark_names(firmware: Firmware) -> dict[str, list[str]]:
    """Words by value, for the kinds of marks that have some; values without one are numbers."""
    found: dict[str, dict[int, str]] = {}
    for symbol in firmware.symbols.values():
        for kind in MARK_KINDS:
            prefix = f"MARK_{kind.upper()}_"
            if not symbol.section and symbol.name.startswith(prefix) and symbol.value < _MOST:
                found.setdefault(kind, {})[symbol.value] = symbol.name[len(prefix) :].lower()
    return {
        kind: [words.get(value, str(value)) for value in range(max(words) + 1)]
        for kind, words in found.items()
    }
