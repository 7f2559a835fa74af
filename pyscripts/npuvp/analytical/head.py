"""Closed forms of what follows the layers: the head, sampling, and the beginning of a call."""

from dataclasses import dataclass

from npuvp.analytical.logits import gathered, through_logits
from npuvp.analytical.phases import Phases
from npuvp.analytical.pieces import BF16_BYTES, Results
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.selection import begun_block, chosen, left, prepared
from npuvp.analytical.shared import dealt, rows_dealt, together
from npuvp.analytical.statistics import row_of_logits, score_of_position
from npuvp.compiler.sampler import Sampler
from npuvp.generation.calls import Kind
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
        call, blocks = self.call, -(-self.spec.hidden // self.geometry.width)
        most = self._tile_rows("head", blocks + 1, blocks + self.layout.head_rows)
        # With guidance, and where logits are stored, all rows of a position are in one tile.
        if self.sampler.guidance or self.layout.stores_logits:
            most = self.layout.whole_positions
        # How many positions the call computes does not matter here.
        debt = int(self.debt)
        sizes = (most, call.batch, call.samples, call.span)
        key = ("head", *sizes, self.sampler, self.places, debt)
        done = self.seen.get(key) or self.seen.keep(key, (self._head(most), 0.0))
        return done[0]

    def _head(self, most: int) -> Work:
        """Likewise, in tiles of so many rows."""
        spec, g, call, h = self.spec, self.geometry, self.call, self.hardware
        total = self._head_begins()
        stored = self.layout.stores_logits
        done = 0
        for rows, times in self._tiles(most, call.span * call.batch):
            # The tile's first row is divided by the batch, by subtraction, for every chunk.
            before = done + rows * (times - 1) / 2
            done += rows * times
            if stored:
                total.add(self._stored_tile(rows, before, most), times)
                continue
            tile, _ = self._normalised(rows, spec.hidden, "final_norm")
            results = self._statistics(rows)
            divide = body(h, "br int int br", before / call.batch if call.batch > 1 else 0)
            results.work.add(divide)
            weights = self.layout.stored["head"]
            product, _ = self._product(rows, weights, spec.vocab, "head", most * g.width, results)
            product.cycles += divide.cycles * -(-spec.vocab // g.width)
            tile.add(product)
            total.add(tile, times)
        if self.layout.cores > 1:
            total.add(gathered(self))
        total.add(
            body(h, f"{score_of_position(self.sampler)} int int br", call.span * call.samples)
        )
        return total

    def _head_begins(self) -> Work:
        """What the head needs before its first tile, on all cores."""
        spec, call, h = self.spec, self.call, self.hardware
        # Weights of the norm come with the first tile, behind a row of ones.
        row = self._address("vocab_mask"), 1, BF16_BYTES * self.geometry.width
        each = self._beside_others(self._load_alike(*row))
        words = " ".join(["fm"] * len(self.sampler.words))
        each.add(body(h, f"{words} im int int br", call.span * call.samples))
        each.add(body(h, repeat("int", 40)))
        total = together((((), tuple(range(self.layout.cores))),), lambda cores: each)
        if h.memory.banks is not None:
            total.cycles += _STILL_WRITING
        if spec.logit_shift:  # by one core
            first = call.batch * self.layout.stored["x"].pitch
            total.add(self._load(1, first))
            total.add(self._store(1, first))
            total.add(body(h, repeat("int", 6) + repeat(" int ctl", 3) + " dma sync"))
            total.add(self._meet())
        return total

    def _stored_tile(self, rows: int, before: float, most: int) -> Work:
        """A tile whose logits go through memory: every core makes some columns of them, and goes
        through all columns of some positions."""
        spec, cores, batch = self.spec, self.layout.cores, self.call.batch
        weights, table = self.layout.stored["head"], self.layout.stored["logits"]
        pitch = most * self.geometry.width

        def made(tokens: int) -> Work:
            tile, _ = self._normalised(rows, spec.hidden, "final_norm")
            if tokens:
                store = self._chunk(rows, self._chunk_columns(tokens), table, True)
                kept = self._results("", 0, 0, rows, store, table)
                tile.add(
                    self.finished_product(rows, weights, tokens, "head", pitch, kept, of=spec.vocab)
                )
            return tile

        results = self._statistics(rows)
        each_row = Work()
        each_row.add(results.work, 1 / rows)
        if self.sampler.top_p < 1:
            # Half of the chunks are behind the last token at the level that remains.
            behind = Work()
            behind.add(each_row, 0.5)
            behind.add(self._statistics(rows, at_level=False).work, 0.5 / rows)
            each_row = behind
        shares = rows_dealt(cores, most, batch, rows)
        busy = self.shared_by(sum(len(own) for (count,), own in shares if count))

        def gone_through(count: int) -> Work:
            # The last core's first row is divided by the batch longest.
            earlier = before + rows * (1 - 1 / cores)
            return through_logits(busy, count, earlier, each_row) if count else Work()

        tile = self._phase(dealt(cores, (spec.vocab, table.block)), made)
        tile.add(self._phase(shares, gone_through))
        return tile

    def each_row(self, text: str, rows: float) -> Work:
        """A loop over rows of logits that goes from position to position."""
        work = self._rows_loop(text, 0, rows)
        if self.call.batch > 1:  # behind the last row of the batch comes the next position
            work.add(body(self.hardware, "int int int int", rows / self.call.batch))
        return work

    def _statistics(self, rows: int, at_level: bool = True) -> Results:
        """What is done with a chunk of logits of so many rows (`row_of_logits`)."""
        spec, g, call, sampler = self.spec, self.geometry, self.call, self.sampler
        following = " int br" if call.batch > 1 else ""
        # Lanes behind a vocabulary of less than a row are masked.
        masked = "int int vsel4. " if spec.vocab < g.width else ""
        text = masked + row_of_logits(sampler, call.batch, at_level) + following
        if sampler.guidance:
            guide = "br vadd3. vmul2. vadd3. int "
            other = "br int int" + following
            results = self._results(guide + text + " " + other, 5, 48, rows // 2, Work())
            return results._replace(row_cycles=results.row_cycles / 2, whole=True)
        spare = sampler.score in ("margin", "entropy")
        results = self._results(text, 4 + spare, 24, rows, Work())
        work = self.each_row(text, rows)
        if sampler.score == "margin":  # every lane is gone through for the largest
            work.add(self._elements("vector_topk", g.width), rows)
        if sampler.restricted and at_level:
            work.add(self._elements("vector_count", 1), rows)
        return results._replace(work=work, row_cycles=work.cycles / rows)

    def _tokens(self, count: float) -> Work:
        """Tokens of a row of the batch, which are waited for."""
        batch = self.call.batch
        pieces = 1 if batch == 1 else count
        return self._load(pieces, 4 * count / pieces, 4 * batch)

    def sampling(self) -> Work:
        """What is committed, per row of the batch, and the record of the call, by one core."""
        call = self.call
        # How many positions the call computes does not matter, and a warm pass is Dream's alone.
        warm = call.warm and self.plan.revision == "dream"
        sizes = (call.batch, call.samples, call.length, call.span, call.committed, call.block)
        key = ("sampling", *sizes, warm, self.plan)
        done = self.seen.get(key) or self.seen.keep(key, (self._sampling(), 0.0))
        return done[0]

    def _sampling(self) -> Work:
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
        total = self._fence(total)
        total.add(self._meet())
        return total

    def begin(self, kind: Kind) -> Work:
        """What the call computes; the search for masks before the block, or within it."""
        call, h = self.call, self.hardware
        if self.layout.shape.block:
            return begun_block(self, kind)
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
