"""Which tokens of a sequence stand for the text, and where in it."""

from __future__ import annotations

from typing import Any

import numpy as np


def special_ends(tokenizer: Any) -> tuple[int, int]:
    """How many tokens a tokenizer puts before and behind every text.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase or FastTokenizer

    Returns
    -------
    before, behind : int
    """
    plain = _rust(tokenizer)
    if plain is None:
        encoded = tokenizer("a", return_special_tokens_mask=True)
        mask = encoded["special_tokens_mask"]
    else:
        mask = plain.encode("a").special_tokens_mask
    own = np.flatnonzero(np.asarray(mask) == 0)
    if not len(own):
        return len(mask), 0
    return int(own[0]), int(len(mask) - 1 - own[-1])


def token_spans(tokenizer: Any, text: str, n: int) -> np.ndarray | None:
    """Where the tokens of a text stand in it, (n_tokens, 2) int64: first character, and end.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase or FastTokenizer
    text : str
    n : int
        Most tokens that are left of a longer text.

    Returns
    -------
    spans : ndarray or None
        None if the tokenizer does not know.
    """
    plain = _rust(tokenizer)
    if plain is None:
        return None
    spans = np.array(plain.encode(text, add_special_tokens=False).offsets, dtype=np.int64).reshape(
        -1, 2
    )
    if getattr(tokenizer, "truncation_side", "right") == "left":
        return spans[max(0, len(spans) - n) :]
    return spans[:n]


def _rust(tokenizer: Any) -> Any:
    """The tokenizer of the library tokenizers behind it; None if it is written in Python."""
    return getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "tokenizer", None)
