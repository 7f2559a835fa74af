from pathlib import Path

import pytest

from npuvp.model.tokenizer import Tokenizer, TokenizerError

TOKENIZER = Tokenizer("0123+", {6: "end", 7: "mask"}, frozenset({6}))


def test_round_trip(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded == TOKENIZER
    assert loaded.encode("3+0") == [3, 4, 0]
    assert loaded.decode([3, 4, 7, 5, 6, 1]) == "3+<mask><5>"
    assert loaded.decode([6, 1], until_end=False) == "<end>1"


def test_unknown_characters_are_all_named() -> None:
    with pytest.raises(TokenizerError, match=r"characters '9a' are not in the vocabulary"):
        TOKENIZER.encode("1a+9")


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="takes token ids, not text"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(TokenizerError, match="no character list"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="not JSON"):
        Tokenizer.load(tmp_path)
