"""Texts of which a tokenizer need not see all: tokens beyond the first few hundred are cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Characters of a beginning, for each token that counts. No language has tokens as long.
_CHARACTERS = 64

Tokenize = Callable[[list[str]], list[list[int]]]


def shorten(texts: Sequence[str], tokenize: Tokenize, max_length: int) -> list[str]:
    """Cut long texts where it does not change their first tokens.

    A text of ten megabytes takes a tokenizer half a minute and two gigabytes, of which a few
    hundred tokens are kept. A beginning of a text stands for it if half of this beginning has the
    same tokens already; else one four times as long is tried, up to the whole text.

    Parameters
    ----------
    texts : sequence of str
    tokenize : callable
        Gives at most `max_length` token ids of each text, the first ones.
    max_length : int

    Returns
    -------
    texts : list of str
        Those that are not long are as they were.
    """
    size = _CHARACTERS * max_length
    return [text if len(text) <= size else _shorten(text, tokenize, max_length) for text in texts]


def _shorten(text: str, tokenize: Tokenize, max_length: int) -> str:
    size = _CHARACTERS * max_length
    while size < len(text):
        half, whole = tokenize([text[: size // 2], text[:size]])
        if len(whole) == max_length and half == whole:
            return text[:size]
        size *= 4
    return text
