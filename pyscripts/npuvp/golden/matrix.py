"""Matrix instructions: one float32 accumulator per output, K ascending."""

from collections.abc import Callable

import numpy as np

from npuvp.golden.faults import Fault
from npuvp.golden.formats import Floats, Row, from_float, to_float
from npuvp.golden.state import Core, Decoded

__all__ = ["MATRIX"]

Matrix = Callable[[Core, Decoded], None]
MATRIX: dict[str, Matrix] = {}
