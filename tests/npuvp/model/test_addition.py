import numpy as np
import pytest

from npuvp.model.addition import ANSWER, PROMPT, answer, held_out, operands, prompt


def test_an_answer_by_hand() -> None:
    assert prompt(493827, 518264) == "0493827+0518264="
    assert answer(493827, 518264) == "0111101;01012091"
    assert answer(9999999, 1) == "1111111;10000000"
    assert answer(0, 0) == "0000000;00000000"


@pytest.mark.parametrize("value", [-1, 10_000_000])
def test_operands_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match=r"summand b = .*0..9999999"):
        prompt(0, value)


def test_held_out_prompts_are_right_and_repeatable() -> None:
    tasks = held_out(500, seed=4)
    assert tasks == held_out(500, seed=4) != held_out(500, seed=5)
    for question, reply in tasks:
        a, b = question.rstrip("=").split("+")
        assert (len(question), len(reply)) == (PROMPT, ANSWER)
        assert int(reply.split(";")[1]) == int(a) + int(b)


def test_sides_of_the_split_are_disjoint_and_complete() -> None:
    rng = np.random.default_rng(0)
    train = operands(rng, 20_000, held_out=False, chains=0.5)
    test = operands(rng, 20_000, held_out=True)
    again = operands(np.random.default_rng(0), 20_000, held_out=False, chains=0.5)
    np.testing.assert_array_equal(train.a, again.a)
    seen = set(zip(train.a.tolist(), train.b.tolist(), strict=True))
    assert seen.isdisjoint(zip(test.a.tolist(), test.b.tolist(), strict=True))
    assert len(train.a) == len(test.a) == 20_000
    assert train.a.max() < 10**7 and train.a.max() > 9.9e6
