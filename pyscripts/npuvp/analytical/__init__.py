"""The analytical path: latency, energy, area and utilisation in closed form."""
