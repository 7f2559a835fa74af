"""Writes the inputs of the tutorials into the current folder: x.npy, rows.npy, small.npy."""

import numpy as np

x = np.arange(256, dtype=np.float32).reshape(4, 64) % 17
np.save("x.npy", x)  # sums 486, 502, 518, 534
x[2] = 1 / 256
np.save("small.npy", x)  # the sum of row 2 is 1/4
np.save("rows.npy", -np.ones((256, 64), np.float32))
