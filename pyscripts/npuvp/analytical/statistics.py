"""What the head does with a row of logits and with a position's statistics, as short texts (see
`npuvp.analytical.schedule`), for every sampler (`npuvp.compiler.head`)."""

from npuvp.analytical.schedule import repeat
from npuvp.compiler.sampler import Sampler

__all__ = ["FLOAT", "levels", "row_of_logits", "score_of_position"]

#: A register of floating-point numbers that is set to a constant.
FLOAT = "int int fp"
#: The value of a level from its number.
_LEVEL = "int br int br int int int fp"
#: The position that a row belongs to.
_POSITION = "int int im int"


def row_of_logits(sampler: Sampler, batch: int, at_level: bool = True) -> str:
    """Instructions for a row of logits of a chunk, without masks of its last lanes and the loop.

    Args:
        sampler: What is made of logits.
        batch: Rows of the batch.
        at_level: Where tokens are left out, whether some at the level may still remain.
    """
    words = ["int br"] * len(sampler.hidden)
    if sampler.restricted:
        words.append("fm int int vsel2. im br")
        if at_level:
            words.append("vsel2. vcount. br int im vmax3.")
        words.append("int vsel4.")
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
        words.append(f"{kept} fm int int int {FLOAT} vmax1. fp. fp. vtopk3. int vsel4. vmax1. fm")
    words.append("fm vadd2. fp")
    if sampler.sharpness != 1:
        words.append(f"{FLOAT} fp vmul2.")
    left_out = "int vmul3." if sampler.restricted else ""
    if sampler.score == "entropy":
        words.append(f"fm {FLOAT} int vmax2. vexp2. vmul3. {left_out} fp fp fexp fp vsum1. fm")
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
            words.append(f"{FLOAT} fp.")
        words.append("fexp.")
        if sampler.score == "margin":
            words.append(f"{FLOAT} fp.")
        words.append("fp.")
    if sampler.ranking_temperature:
        words.append(f"{FLOAT} {_POSITION} frand. fp. fp.")
    words.append("fm.")
    return " ".join([*words, repeat("int int int int int int fp.", len(sampler.outcast))])


def levels(sampler: Sampler, batch: int) -> tuple[dict[str, str], dict[str, str]]:
    """The search for the tokens that remain (`npuvp.compiler.restriction`): instructions for a row of
    logits of a chunk, and for a row of the tile, with the way to the next row.

    Args:
        sampler: What is made of logits.
        batch: Rows of the batch.
    """
    mass, count, sharp = sampler.top_p < 1, sampler.top_k > 0, sampler.sharpness != 1
    onwards = "int int" if batch == 1 else "int int int int br"
    exponentials = "vadd2. " + (f"{FLOAT} vmul2. " if sharp else "") + "vexp2."
    add = "fm int vsel2." + (" fm vsum1. fm." if count else "")
    begin = f"im im int {_LEVEL} fm" + " fm" * mass + " fm" * count
    end = "int"
    if mass:
        add += f" fm {exponentials} fm vmul3. vsum1. fm."
        end += f" fm {FLOAT} fp fm fp."
    if count:
        end += f" fm {FLOAT} fp. int"
    end += " br fm" * mass + " br im im int im"
    settle = f"im int {_LEVEL} fm int"
    if mass:
        ties = repeat("int fp fp. fp. fp. br int int br", 20)
        settle += f" fm int int vshft1. vadd2. {exponentials} fm {FLOAT} fp fm vget. int int"
        settle += f" {ties} int {FLOAT} fm fm"
    total = "fm fm fp vmax1. fp. fm " + (f"{FLOAT} fp " if sharp else "")
    total += f"{exponentials} fexp fp vsum1. fm."
    chunks = {"above": f"{add} {onwards}"}
    if mass:
        chunks["total"] = f"{total} {onwards}"
    rows = {"clear": "im", "begin": begin, "end": end, "settle": f"{settle} im"}
    return chunks, {name: f"{text} {onwards}" for name, text in rows.items()}
