"""Closed forms of what follows the layers: the head, sampling, and the beginning of a call."""

from dataclasses import dataclass, replace

from npuvp.analytical.logits import through_logits
from npuvp.analytical.phases import BF16_BYTES, Phases, Results
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.selection import chosen, left, prepared
from npuvp.analytical.statistics import row_of_logits, score_of_position
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

    def head(self) -> Work:
        """Maximum, token and sum of exponentials over the vocabulary."""
        call = self.call
        sizes = call.span, call.batch, call.samples, call.length, self.layout.whole_positions
        key = ("head", *sizes, self.sampler, int(self.debt))
        done = self.seen.get(key)
        if done is None:
            done = self.seen.keep(key, (self._head(), 0.0))
        return done[0]

    def _head(self) -> Work:
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        blocks = -(-spec.hidden // g.width)
        rows_in_all = call.span * call.batch
        total = self._beside_others(self._load(1, BF16_BYTES * g.width))
        words = " ".join(["fm"] * len(self.sampler.words))
        total.add(body(h, f"{words} im int int br", call.span * call.samples))
        total.add(body(h, repeat("int", 40)))
        if h.memory.banks is not None:
            total.cycles += _STILL_WRITING
        if spec.logit_shift:
            first = call.batch * self.layout.stored["x"].pitch
            total.add(self._load(1, first))
            total.add(self._store(1, first))
            total.add(body(h, repeat("int", 6) + repeat(" int ctl", 3) + " dma sync"))
        most = self._tile_rows("head", blocks + 1, blocks + self.layout.head_rows)
        guided = self.sampler.guidance != 0
        stored = self.layout.stores_logits
        if guided or stored:  # all rows of a position are in one tile
            most = self.layout.whole_positions
        pitch = most * g.width
        done = 0
        for rows, times in self._tiles(most, rows_in_all):
            tile, _ = self._normalised(rows, spec.hidden)
            # The tile's first row is divided by the batch, by subtraction, for every chunk.
            before = done + rows * (times - 1) / 2
            done += rows * times
            results = self._statistics(rows)
            weights = self.layout.stored["head"]
            if stored:
                table = self.layout.stored["logits"]
                each_row = Work()
                each_row.add(results.work, 1 / rows)
                store = self._chunk(rows, self._chunk_columns(spec.vocab), table, True)
                kept = self._results("", 0, 0, rows, store, table)
                product, _ = self._product(rows, weights, spec.vocab, "head", pitch, kept)
                tile.add(product)
                tile.add(through_logits(self, rows, before, each_row))
            else:
                divide = body(h, "br int int br", before / call.batch if call.batch > 1 else 0)
                results.work.add(divide)
                product, _ = self._product(rows, weights, spec.vocab, "head", pitch, results)
                product.cycles += divide.cycles * -(-spec.vocab // g.width)
                tile.add(product)
            total.add(tile, times)
        total.add(
            body(h, f"{score_of_position(self.sampler)} int int br", call.span * call.samples)
        )
        return total

    def _statistics(self, rows: int) -> Results:
        """What is done with a chunk of logits of so many rows."""
        spec, g, call, sampler = self.spec, self.geometry, self.call, self.sampler
        following = " int br" if call.batch > 1 else ""
        # Lanes behind a vocabulary of less than a row are masked.
        masked = "int int vsel4. " if spec.vocab < g.width else ""
        text = masked + row_of_logits(sampler, call.batch) + following
        if sampler.guidance:
            guide = "br vadd3. vmul2. vadd3. int "
            other = "br int int" + following
            results = self._results(guide + text + " " + other, 5, 48, rows // 2, Work())
            return replace(results, row_cycles=results.row_cycles / 2, whole=True)
        spare = sampler.score in ("margin", "entropy")
        results = self._results(text, 4 + spare, 24, rows, Work())
        if sampler.score == "margin":  # every lane is gone through for the largest
            results.work.add(self._elements("vector_topk", g.width), rows)
            results = replace(results, row_cycles=results.work.cycles / rows)
        return results

    def _elements(self, timing: str, elements: float) -> Work:
        """An instruction that streams elements."""
        h = self.hardware
        interval, latency, per = h.classes.costs[timing]
        cycles = max(interval, latency) + per * elements
        spent = h.energy.instructions.of(timing, elements)
        return Work(cycles, spent, cycles)

    def _tokens(self, count: float) -> Work:
        """Tokens of a row of the batch, which are waited for."""
        batch = self.call.batch
        pieces = 1 if batch == 1 else count
        return self._load(pieces, 4 * count / pieces, 4 * batch)

    def sampling(self) -> Work:
        """What is committed, per row of the batch, and the record of the call."""
        call, h = self.call, self.hardware
        pieces = 1 if call.batch == 1 else call.span
        row = self._tokens(call.span)
        row.add(body(h, repeat("int", 50) + " im im im im im br br br br"))
        row.add(self._elements("vector_compare", call.span))
        row.add(chosen(self))
        row.add(self._elements("vector_select_int", call.span))
        row.add(left(self))
        row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
        if call.batch != call.samples:
            # The same tokens into the canvas in which the prompt is hidden, and back again.
            for _ in range(2):
                row.add(self._tokens(call.span))
            row.add(self._elements("vector_select_int", call.span))
            row.add(self._store(pieces, 4 * call.span / pieces, 4 * call.batch))
            row.add(body(h, repeat("int", 40) + repeat(" im", 2) + repeat(" br", 2)))
        row.add(self._store(1, BF16_BYTES * call.span))
        total = Work()
        total.add(row, call.samples)
        total.add(prepared(self))
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
