"""What the compiler cannot do."""

__all__ = ["CompileError"]


class CompileError(ValueError):
    """A model, plan and platform for which no firmware can be made; the message lists the faults.

    Attributes:
        faults: One line each.
    """

    def __init__(self, faults: list[str]):
        super().__init__("no firmware can be made:\n  " + "\n  ".join(faults))
        self.faults = faults
