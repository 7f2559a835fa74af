"""How work is dealt out to the cores that share a generation."""

__all__ = ["share"]


def share(total: int, unit: int, core: int, cores: int) -> tuple[int, int]:
    """A core's range of `total` things that are dealt out in groups of `unit`: the first and how
    many."""
    units = -(-total // unit)
    first = min(total, units * core // cores * unit)
    return first, min(total, units * (core + 1) // cores * unit) - first
