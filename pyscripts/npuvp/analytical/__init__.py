"""The analytical path: latency, energy, area and utilisation in closed form."""

from npuvp.analytical.generation import GenerationEstimate, estimate
from npuvp.analytical.machine import Hardware, hardware_of
from npuvp.analytical.roofline import DEVICES, Device, device_time, roofline
from npuvp.analytical.sampling import SamplingEstimate, estimate_sampling

__all__ = [
    "DEVICES",
    "Device",
    "GenerationEstimate",
    "Hardware",
    "SamplingEstimate",
    "device_time",
    "estimate",
    "estimate_sampling",
    "hardware_of",
    "roofline",
]
