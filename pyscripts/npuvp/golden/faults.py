"""Where an instruction cannot be carried out."""

__all__ = ["Fault"]


class Fault(Exception):
    """Ends the run with a trap; texts are those of the simulated machine.

    Attributes:
        message: What happened.
        detail: Values and what was allowed; may be empty.
    """

    def __init__(self, message: str, detail: str = ""):
        super().__init__(message)
        self.message = message
        self.detail = detail
