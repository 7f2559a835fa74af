"""NumPy twins of the machine: bit for bit what the C++ machine computes, on any host.

Needs neither SystemC nor the extension module.
"""

from npuvp.golden.machine import GoldenMachine, GoldenResult, run

__all__ = ["GoldenMachine", "GoldenResult", "run"]
