"""What config.json of a quantised checkpoint says, beside the model's own keys.

``quantization_config`` is the key that published quantised checkpoints use; ours reads ::

    {"quant_method": "npuvp-mx", "weights": "mxint4", "head": "mxfp8_e4m3",
     "activations": "mxint8", "block": 32}

which but for the first entry is a formats file (`npuvp.compiler.formats`). The weights of such a checkpoint are BF16 numbers that the named formats hold exactly (the scale of a
block along the contraction comes with its largest magnitude), so any loader reads it as an ordinary
one.
"""

import json
from pathlib import Path
from typing import Any

from npuvp.compiler.formats import ELEMENTS
from npuvp.model.spec import ModelError

__all__ = ["KEY", "METHOD", "read_activations", "read_quantisation"]

KEY = "quantization_config"
METHOD = "npuvp-mx"


def read_quantisation(directory: str | Path) -> dict[str, Any] | None:
    """The entry of a model directory; None where there is none.

    Raises:
        ModelError: It is another method's.
    """
    path = Path(directory) / "config.json"
    if not path.is_file():
        return None
    entry = json.loads(path.read_text(encoding="utf-8")).get(KEY)
    if entry is None:
        return None
    if not isinstance(entry, dict) or entry.get("quant_method") != METHOD:
        raise ModelError(str(path), [f"{KEY}: {entry!r}, allowed: quant_method {METHOD!r}"])
    return entry


def read_activations(directory: str | Path) -> tuple[str, int]:
    """Format and block of what enters products with weights; ("bf16", 32) if not quantised."""
    entry = read_quantisation(directory) or {}
    return ELEMENTS[entry.get("activations", "bf16")], int(entry.get("block", 32))
