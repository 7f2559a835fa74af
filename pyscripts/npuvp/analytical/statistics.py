"""What the head does with a row of logits and with a position's statistics, as short texts (see
`npuvp.analytical.schedule`), for every sampler (`npuvp.compiler.head`)."""

from npuvp.analytical.schedule import repeat
from npuvp.compiler.sampler import Sampler

__all__ = ["row_of_logits", "score_of_position"]

#: A register of floating-point numbers that is set to a constant.
_FLOAT = "int int fp"
#: The position that a row belongs to.
_POSITION = "int int im int"


def row_of_logits(sampler: Sampler, batch: int) -> str:
    """Instructions for a row of logits of a chunk, without masks of its last lanes and the loop.

    Args:
        sampler: What is made of logits.
        batch: Rows of the batch.
    """
    words = ["int br"] * len(sampler.hidden)
    if sampler.restricted:
        # Which tokens remain; at the level itself there is hardly ever one in a chunk.
        words.append("fm int int vsel4. im br int vsel4.")
    words.append("im fm fp")
    if sampler.temperature or sampler.outcast:
        if sampler.temperature:
            # The draw is named by position, call and row of the batch; then the plain maximum.
            words.append(f"fm {_POSITION} ctl ctl fm vrand1. fm. fm")
        else:
            words.append("fm vmaxi1. fm.")
        words += ["int br"] * len(sampler.outcast)
        words.append("vmax1.")
    else:
        words.append("vmaxi1.")
    kept, row = "im fm", "int" if batch == 1 else "int int"
    if sampler.score == "uniform":
        words.append(f"{kept} {row} int")
        return " ".join(words)
    if sampler.score == "margin":
        words.append(f"{kept} fm int int int {_FLOAT} vmax1. fp. fp. vtopk3. int vsel4. vmax1. fm")
    words.append("fm vadd2. fp")
    if sampler.sharpness != 1:
        words.append(f"{_FLOAT} fp vmul2.")
    left_out = "int vmul3." if sampler.restricted else ""
    if sampler.score == "entropy":
        words.append(f"fm {_FLOAT} int vmax2. vexp2. vmul3. {left_out} fp fp fexp fp vsum1. fm")
    words.append(f"fexp fp vexp2. {left_out} vsum1.")
    if sampler.score != "margin":
        words.append(kept)
    words.append(f"{row} fm. int")
    return " ".join(words)


def score_of_position(sampler: Sampler) -> str:
    """Instructions for the score of a position, without the loop; tokens without a probability left
    aside."""
    if sampler.score == "uniform":
        return f"{_POSITION} frand. fm."
    words = ["fm freci."]
    if sampler.score == "entropy":
        words.append("fm fp. frand fp.")
    elif sampler.score == "margin" or sampler.temperature:
        words.append("fm fm fp.")
        if sampler.sharpness != 1:
            words.append(f"{_FLOAT} fp.")
        words.append("fexp.")
        if sampler.score == "margin":
            words.append(f"{_FLOAT} fp.")
        words.append("fp.")
    if sampler.ranking_temperature:
        words.append(f"{_FLOAT} {_POSITION} frand. fp. fp.")
    words.append("fm.")
    return " ".join([*words, repeat("int int int int int int fp.", len(sampler.outcast))])
