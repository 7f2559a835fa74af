"""Closed forms of what follows the layers: the head, sampling, and the beginning of a call."""

from dataclasses import dataclass, replace

from npuvp.analytical.phases import BF16_BYTES, Phases
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.compiler.sampler import Sampler
from npuvp.plan import GenerationPlan

__all__ = ["ForwardCall"]

#: Cycles for which a memory of banks is busy with what the last layer stored when the head's first
#: loads come (measured on v80.yaml: 0 to 260).
_STILL_WRITING = 110.0


@dataclass
class ForwardCall(Phases):
    """Closed forms of all phases of a forward call.

    Attributes:
        sampler, plan: What becomes of the logits.
    """

    sampler: Sampler
    plan: GenerationPlan

    def _statistics(self) -> str:
        """Instructions for a row of logits of a chunk, without the loop."""
        if self.sampler.temperature:
            # The draw is named by position, call and row of the batch; then the plain maximum.
            draw = "fm int int im int ctl ctl fm vrand1. fm fm vmax1."
        else:
            draw = "vmaxi1."
        row = "int" if self.layout.shape.batch == 1 else "int int"
        if self.sampler.score == "uniform":
            return f"im fm fp {draw} im fm {row} int"
        return f"im fm fp {draw} fm vadd2. fp fexp fp vexp2. vsum1. im fm {row} fm. int"

    def _scores(self) -> str:
        """Instructions for the score of a position, without the loop."""
        if self.sampler.score == "uniform":
            return "int int im int frand. fm."
        chosen = "fm fm fp. fexp. fp." if self.sampler.temperature else ""
        return f"fm freci. {chosen} fm."

    def head(self) -> Work:
        """Maximum, token and sum of exponentials over the vocabulary."""
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        blocks = -(-spec.hidden // g.width)
        rows_in_all = call.span * call.batch
        total = self._beside_others(self._load(1, BF16_BYTES * g.width))
        words = " ".join(["fm"] * len(self.sampler.words))
        total.add(body(h, f"{words} im int int br", call.span * call.samples))
        total.add(body(h, repeat("int", 40)))
        if h.memory.banks is not None:
            total.cycles += _STILL_WRITING
        most = self._tile_rows("head", blocks + 1, blocks + self.layout.head_rows)
        guided = self.sampler.guidance != 0
        if guided:  # the rows with and without the prompt of a position are in one tile
            most = self.layout.whole_positions
        pitch = most * g.width
        following = " int br" if call.batch > 1 else ""
        done = 0
        for rows, times in self._tiles(most, rows_in_all):
            tile, _ = self._normalised(rows, spec.hidden)
            # Lanes behind a vocabulary of less than a row are masked.
            masked = "int int vsel4. " if spec.vocab < g.width else ""
            text = masked + self._statistics() + following
            if guided:
                guide = "br vadd3. vmul2. vadd3. int "
                other = "br int int" + following
                results = self._results(guide + text + " " + other, 5, 48, rows // 2, Work())
                results = replace(results, row_cycles=results.row_cycles / 2, whole=True)
            else:
                results = self._results(text, 4, 24, rows, Work())
            # The tile's first row is divided by the batch, by subtraction, for every chunk.
            before = done + rows * (times - 1) / 2
            divide = body(h, "br int int br", before / call.batch if call.batch > 1 else 0)
            results.work.add(divide)
            done += rows * times
            weights = self.layout.stored["head"]
            product, _ = self._product(rows, weights, spec.vocab, "head", pitch, results)
            product.cycles += divide.cycles * -(-spec.vocab // g.width)
            tile.add(product)
            total.add(tile, times)
        total.add(body(h, f"{self._scores()} int int br", call.span * call.samples))
        return total

    def _elements(self, timing: str, elements: float) -> Work:
        """An instruction that streams elements."""
        h = self.hardware
        interval, latency, per = h.classes.costs[timing]
        cycles = max(interval, latency) + per * elements
        spent = h.energy.instructions.of(timing, elements)
        return Work(cycles, spent, cycles)

    def sampling(self) -> Work:
        """What is committed, per row of the batch, and the record of the call."""
        call, h = self.call, self.hardware
        pieces = 1 if call.batch == 1 else call.span
        row = self._load(pieces, 4 * call.span / pieces, 4 * call.batch)
        row.add(body(h, repeat("int", 50) + " im im im im im br br br br"))
        row.add(self._elements("vector_compare", call.span))
        row.add(self._elements("vector_topk", call.span))
        row.add(self._elements("vector_select_int", call.span))
        row.add(self._elements("vector_compare", call.block))
        row.add(self._elements("vector_count", -(-call.block // h.vlen)))
        row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
        if call.batch != call.samples:
            # The same tokens into the canvas in which the prompt is hidden, and back again.
            for _ in range(2):
                row.add(self._load(pieces, 4 * call.span / pieces, 4 * call.batch))
            row.add(self._elements("vector_select_int", call.span))
            row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
            row.add(body(h, repeat("int", 40) + repeat(" im", 2) + repeat(" br", 2)))
        if self.plan.threshold is not None:
            row.add(self._elements("vector_compare", call.span))
            row.add(self._rows_loop("vmul3. vmax3.", 3, -(-call.span // h.vlen)))
        row.add(self._store(1, BF16_BYTES * call.span))
        total = Work()
        total.add(row, call.samples)
        total.add(body(h, repeat("im int", 16) + repeat(" int", 16)))
        total.add(self._load(1, 4 * call.batch * call.length))
        total.add(self._store(1, 4 * call.batch * call.length))
        return self._fence(total)

    def begin(self) -> Work:
        """What the call computes; the search for masks before the block."""
        call, h = self.call, self.hardware
        total = body(h, repeat("int", 24) + repeat(" im", 14) + repeat(" br", 4))
        if call.pieces:
            count = call.earlier * call.samples
            pieces = 1 if call.batch == call.samples else call.earlier
            piece = self._load(pieces, 4 * count / pieces, 4 * call.batch)
            piece.add(self._elements("vector_compare", count))
            piece.add(self._elements("vector_count", -(-count // h.vlen)))
            piece.add(body(h, repeat("int", 14)))
            total.add(piece, call.pieces)
        return total
