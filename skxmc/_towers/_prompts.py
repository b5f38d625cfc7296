"""Prompts around the text and the images of a sequence, as constant tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Prompts:
    """What a language model reads beside an item's text and images.

    The sequences of an item with and without images are, by `order`::

        text-image:  text TEXT image IMAGES end       text TEXT end
        image-text:  image IMAGES text TEXT end       text TEXT end

    A token that the tokenizer puts at the start of every sequence stands before all of it.

    Attributes
    ----------
    text, image : str
        What stands before the text, and before the images; may be empty.
    end : str or None
        What ends the sequence; ``"eos"`` is the tokenizer's own end token.
    order : {"text-image", "image-text"}
    """

    text: str = "This product text"
    image: str = "and its image"
    end: str | None = "eos"
    order: Literal["text-image", "image-text"] = "text-image"

    def __post_init__(self) -> None:
        if self.order not in ("text-image", "image-text"):
            raise ValueError(f"order must be 'text-image' or 'image-text', got {self.order!r}")


@dataclass(frozen=True)
class Frame:
    """Prompts as tokens, around the texts of items without images [0] and with images [1].

    Attributes
    ----------
    heads, tails : tuple of two int32 arrays
        What stands before and behind the text's tokens.
    lead : str
        What a text must begin with to be tokenised as in the middle of a sentence.
    slot : int
        Where the images go: so many tokens from the start of the sequence, or, where it is
        negative or zero with images behind the text, from its end.
    images_first : bool
    """

    heads: tuple[np.ndarray, np.ndarray]
    tails: tuple[np.ndarray, np.ndarray]
    lead: str
    slot: int
    images_first: bool

    @property
    def length(self) -> int:
        """Most tokens that stand around a text."""
        return max(len(h) + len(t) for h, t in zip(self.heads, self.tails, strict=True))

    def image_slots(self, lengths: np.ndarray) -> np.ndarray:
        """How many tokens of each sequence, of these lengths, stand before its images."""
        return np.full_like(lengths, self.slot) if self.images_first else lengths + self.slot


def tokenize_prompts(prompts: Prompts, tokenizer) -> Frame:
    """Token ids of the prompts, as they would be in one text with what they stand around.

    Raises
    ------
    ValueError
        If the tokenizer has no end token and one is asked for.
    """

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    # Byte-level tokenizers keep the space before a word with the word; others add or drop it.
    space = " " if ids("a") + ids(" word") == ids("a word") else ""
    start = _start_tokens(tokenizer)
    if prompts.end == "eos":
        if tokenizer.eos_token_id is None:
            raise ValueError(
                "the model's tokenizer has no end token; pass end_token=None, or a string"
            )
        end = [tokenizer.eos_token_id]
    else:
        end = ids(prompts.end or "")
    text = ids(prompts.text)
    if prompts.order == "image-text":
        image = ids(prompts.image)
        heads, tails = (start + text, start + image + text), (end, end)
        slot = len(start) + len(image)
    else:
        image = ids(space + prompts.image) if prompts.image else []
        heads, tails = (start + text, start + text), (end, image + end)
        slot = -len(end)
    return Frame(
        tuple(np.array(head, dtype=np.int32) for head in heads),
        tuple(np.array(tail, dtype=np.int32) for tail in tails),
        space if prompts.text else "",
        slot,
        prompts.order == "image-text",
    )


def _start_tokens(tokenizer) -> list[int]:
    """Tokens that the tokenizer puts before every text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    special = tokenizer("a")["input_ids"]
    for start in range(len(special) - len(plain) + 1):
        if special[start : start + len(plain)] == plain:
            return special[:start]
    return []
