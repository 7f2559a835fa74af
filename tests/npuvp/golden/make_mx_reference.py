"""Makes tests/data/mx.npz: what the public microscaling library makes of 186 blocks of 32.

Origin: microsoft/microxcaling at 7bc4195, torch path, recorded as mx.npz: ``x`` (186, 32) float32,
``{format}_{round}`` (186, 32) float32 and ``{format}_scale_exp`` (186,). Blocks on which its
float32 log2 is one too large are left out of the recording. This script keeps round half to even,
the rounding of the OCP specification.

    python tests/npuvp/golden/make_mx_reference.py RECORDING.npz tests/data/mx.npz
"""

import sys

import numpy as np

recording = np.load(sys.argv[1])
kept = {k: recording[k] for k in recording if k == "x" or k.endswith(("_even", "_scale_exp"))}
np.savez_compressed(sys.argv[2], **kept)
