"""Character tokenizers of the shipped models."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tokenizer", "TokenizerError"]

FILE = "tokenizer.json"


class TokenizerError(ValueError):
    """A tokenizer file or a text that cannot be used."""


@dataclass(frozen=True)
class Tokenizer:
    """One token per character.

    Attributes:
        characters: character of token i at index i; ids beyond are special or unused.
        special: names of special tokens by id, shown as ``<name>``.
        end: ids at which `decode` stops.
    """

    characters: str
    special: dict[int, str]
    end: frozenset[int]

    @classmethod
    def load(cls, directory: str | Path) -> "Tokenizer":
        """Reads ``tokenizer.json`` of a model directory.

        Raises:
            TokenizerError: there is none, or it is no character list of this package.
        """
        path = Path(directory) / FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TokenizerError(
                f"{path}: not there, so this model takes token ids, not text"
            ) from None
        except ValueError as error:
            raise TokenizerError(f"{path}: not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("type") != "characters":
            raise TokenizerError(
                f"{path}: no character list ('type': 'characters'), so this model takes token ids"
            )
        return cls(
            data["characters"],
            {int(i): name for i, name in data["special"].items()},
            frozenset(data["end"]),
        )

    def save(self, directory: str | Path) -> None:
        """Writes ``tokenizer.json`` into a model directory."""
        data = {
            "type": "characters",
            "characters": self.characters,
            "special": {str(i): name for i, name in self.special.items()},
            "end": sorted(self.end),
        }
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        (Path(directory) / FILE).write_text(text, encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            TokenizerError: characters that the vocabulary lacks; all of them are named.
        """
        unknown = sorted(set(text) - set(self.characters))
        if unknown:
            raise TokenizerError(
                f"text {text!r}: characters {''.join(unknown)!r} are not in the vocabulary "
                f"(allowed: {self.characters!r})"
            )
        return [self.characters.index(c) for c in text]

    def decode(self, tokens: Iterable[int], *, until_end: bool = True) -> str:
        """Text of token ids.

        Args:
            tokens: ids; special ones appear as ``<name>``, unused ones as ``<id>``.
            until_end: stop before the first end-of-text.
        """
        parts = []
        for token in tokens:
            if until_end and token in self.end:
                break
            if 0 <= token < len(self.characters):
                parts.append(self.characters[token])
            else:
                parts.append(f"<{self.special.get(int(token), str(int(token)))}>")
        return "".join(parts)
