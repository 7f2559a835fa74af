"""Writes assembly text: labels, loops, and control registers that are set only where they change."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Assembly"]

_IMMEDIATE = 1 << 18


class Assembly:
    """A program in the making.

    Attributes:
        lines: The text so far.
        scratch: Register that `csr` and `add` may overwrite.
    """

    def __init__(self, scratch: str = "gp15"):
        self.lines: list[str] = []
        self.scratch = scratch
        self._labels = 0
        self._csrs: dict[str, int] = {}

    @property
    def text(self) -> str:
        """The whole program."""
        return "\n".join(self.lines) + "\n"

    def __call__(self, *statements: str) -> None:
        """Appends instructions."""
        self.lines += [f"        {statement}" for statement in statements]

    def comment(self, text: str) -> None:
        """Appends a comment."""
        self.lines.append(f"; {text}")

    def new_label(self, name: str) -> str:
        """A label that is used nowhere else."""
        self._labels += 1
        return f"{name}_{self._labels}"

    def label(self, label: str) -> None:
        """Places a label; what control registers hold is unknown from here on."""
        self.lines.append(f"{label}:")
        self._csrs.clear()

    def csr(self, name: str, value: int) -> None:
        """Sets a control register, unless it is known to hold the value."""
        if self._csrs.get(name) == value:
            return
        self(f"LI {self.scratch}, {value}", f"C_CSRW {name}, {self.scratch}")
        self._csrs[name] = value

    def csr_from(self, name: str, register: str) -> None:
        """Sets a control register from an integer register."""
        self(f"C_CSRW {name}, {register}")
        self._csrs.pop(name, None)

    def li(self, register: str, value: int) -> None:
        """Sets a register."""
        self(f"LI {register}, {value}")

    def add(self, register: str, source: str, value: int) -> None:
        """register <- source + value."""
        if value < 0:
            self(f"LI {self.scratch}, {-value}", f"S_SUB_INT {register}, {source}, {self.scratch}")
        elif value >= _IMMEDIATE:
            self(f"LI {self.scratch}, {value}", f"S_ADD_INT {register}, {source}, {self.scratch}")
        elif value or register != source:
            self(f"S_ADDI_INT {register}, {source}, {value}")

    def scaled(self, register: str, source: str, factor: int) -> None:
        """register <- source * factor."""
        self(f"LI {self.scratch}, {factor}", f"S_MUL_INT {register}, {source}, {self.scratch}")

    def load(self, register: str, word: int) -> None:
        """register <- a word of INT SRAM at a fixed address."""
        self(f"S_LD_INT {register}, gp0, {word}")

    def store(self, register: str, word: int) -> None:
        """A word of INT SRAM at a fixed address <- register."""
        self(f"S_ST_INT {register}, gp0, {word}")

    @contextmanager
    def loop(self, register: str, count: int) -> Iterator[None]:
        """A hardware loop of a fixed number of rounds."""
        if count == 1:
            yield
            return
        self(f"C_LOOP_START {register}, {count}")
        self._csrs.clear()
        yield
        self(f"C_LOOP_END {register}")
        self._csrs.clear()

    @contextmanager
    def repeat(self, register: str) -> Iterator[None]:
        """A loop of as many rounds as a register holds, at least one; it counts down to 0."""
        again = self.new_label("again")
        self.label(again)
        yield
        self.add(register, register, -1)
        self(f"C_BNE {register}, gp0, {again}")
        self._csrs.clear()

    @contextmanager
    def skip_if(self, branch: str, a: str, b: str) -> Iterator[None]:
        """Statements that are passed over where the branch is taken."""
        behind = self.new_label("skip")
        self(f"{branch} {a}, {b}, {behind}")
        yield
        self.label(behind)

    def minimum(self, register: str, other: str) -> None:
        """register <- min(register, other), unsigned."""
        behind = self.new_label("least")
        self(f"C_BGEU {other}, {register}, {behind}", f"S_ADDI_INT {register}, {other}, 0")
        self.lines.append(f"{behind}:")
