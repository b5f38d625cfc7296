"""What a tower encodes: ragged token sequences with image slots, and packs of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .._inputs._images import ImageFeatures
from .._runtime._device import to_device


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts as one flat array of token ids; text i is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes
    ----------
    ids : ndarray of shape (n_tokens,), int32
    offsets : ndarray of shape (n_texts + 1,), int64
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]]) -> TokenizedTexts:
        """Build from one list of token ids per text."""
        lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = (token for sequence in sequences for token in sequence)
        ids = np.fromiter(flat, dtype=np.int32, count=int(offsets[-1]))
        return cls(ids, offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[TokenizedTexts]) -> TokenizedTexts:
        """The texts of all parts, one part behind the other."""
        lengths = np.concatenate([np.empty(0, dtype=np.int64), *(part.lengths for part in parts)])
        ids = np.concatenate([np.empty(0, dtype=np.int32), *(part.ids for part in parts)])
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, int64."""
        return np.diff(self.offsets)

    def surrounded(
        self, heads: Sequence[np.ndarray], tails: Sequence[np.ndarray], kinds: np.ndarray
    ) -> TokenizedTexts:
        """The texts with constant tokens around each.

        Parameters
        ----------
        heads, tails : sequence of int arrays
            Tokens before and behind the texts of each kind.
        kinds : ndarray of shape (n_texts,), int
            Which head and tail a text gets.
        """
        before = np.array([len(head) for head in heads], dtype=np.int64)[kinds]
        behind = np.array([len(tail) for tail in tails], dtype=np.int64)[kinds]
        offsets = np.concatenate([[0], np.cumsum(before + self.lengths + behind)])
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        ids[ranges(offsets[:-1] + before, self.lengths)] = self.ids
        for kind, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            rows = np.flatnonzero(kinds == kind)
            ids[offsets[rows, np.newaxis] + np.arange(len(head))] = head
            ids[offsets[rows + 1, np.newaxis] - len(tail) + np.arange(len(tail))] = tail
        return TokenizedTexts(ids, offsets)

    def in_parts(self, longest: int) -> tuple[TokenizedTexts, np.ndarray]:
        """Each text in as few parts as have at most `longest` tokens, of about equal length.

        Returns
        -------
        parts : TokenizedTexts
        owner : ndarray of shape (n_parts,), int64
            Ascending: the text that each part is of. An empty text is one empty part.
        """
        counts = np.maximum(1, -(-self.lengths // longest))
        owner = np.repeat(np.arange(len(self)), counts)
        place = ranges(np.zeros_like(counts), counts)
        lengths = self.lengths[owner] // counts[owner] + (place < (self.lengths % counts)[owner])
        return TokenizedTexts(self.ids, np.concatenate([[0], np.cumsum(lengths)])), owner

    def trimmed(self, before: np.ndarray, behind: np.ndarray) -> TokenizedTexts:
        """The texts without so many tokens at the start and at the end of each."""
        lengths = self.lengths - before - behind
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return TokenizedTexts(self.ids[ranges(self.offsets[:-1] + before, lengths)], offsets)


@dataclass(frozen=True)
class Items:
    """Documents or labels, ready for a tower: their tokens and, if there are any, images.

    Attributes
    ----------
    tokens : TokenizedTexts
    images : ImageFeatures or None
        As many rows as there are texts.
    image_slots : ndarray of shape (n_texts,), int64, or None
        How many of an item's tokens stand before its images; None puts all images first.
    """

    tokens: TokenizedTexts
    images: ImageFeatures | None = None
    image_slots: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> Items:
        """Some of the items; image vectors are shared."""
        starts, lengths = self.tokens.offsets[rows], self.tokens.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = TokenizedTexts(self.tokens.ids[ranges(starts, lengths)], offsets)
        return Items(
            tokens,
            None if self.images is None else self.images.take(rows),
            None if self.image_slots is None else self.image_slots[rows],
        )

    def image_counts(self) -> np.ndarray:
        """Number of images of each item, int64."""
        if self.images is None:
            return np.zeros(len(self), dtype=np.int64)
        return (self.images.index >= 0).sum(axis=1).astype(np.int64)

    def __add__(self, other: Items) -> Items:
        """Items of both, those of `other` behind: one id space for documents and labels."""
        tokens = TokenizedTexts.concatenate([self.tokens, other.tokens])
        slots = None
        if self.image_slots is not None or other.image_slots is not None:
            slots = np.zeros(len(tokens), dtype=np.int64)
            for part, rows in (self, slice(0, len(self))), (other, slice(len(self), None)):
                slots[rows] = 0 if part.image_slots is None else part.image_slots
        if self.images is None and other.images is None:
            return Items(tokens, None, slots)
        filled = [part.images for part in (self, other) if part.images is not None]
        width = max(images.index.shape[1] for images in filled)
        index = np.full((len(tokens), width), -1, dtype=np.int32)
        row = n_vectors = 0
        for part in (self, other):
            if part.images is not None:
                block = part.images.index
                target = index[row : row + len(part), : block.shape[1]]
                target[...] = np.where(block >= 0, block + n_vectors, -1)
                n_vectors += len(part.images.vectors)
            row += len(part)
        vectors = filled[0].vectors  # shared, not copied, where labels have no images
        if len(filled) > 1:
            vectors = np.concatenate([images.vectors for images in filled])
        return Items(tokens, ImageFeatures(vectors, index), slots)

    def representatives(self) -> np.ndarray:
        """For each item the first one with the same tokens and images, int64.

        Equal items have equal embeddings, so a batch encodes each of them once.
        """
        ids, offsets = self.tokens.ids, self.tokens.offsets
        first: dict[bytes, int] = {}
        result = np.empty(len(self), dtype=np.int64)
        for item in range(len(self)):
            key = ids[offsets[item] : offsets[item + 1]].tobytes()
            if self.images is not None:
                key += b"|" + self.images.index[item].tobytes()
                if self.image_slots is not None:
                    key += self.image_slots[item].tobytes()
            result[item] = first.setdefault(key, item)
        return result


@dataclass
class Pack:
    """Sequences of some items laid end to end, sorted by length.

    Attributes
    ----------
    token_ids : Tensor of shape (n_text_tokens,), int64
    positions : Tensor of shape (n_tokens,), int64
        Position of each token, image tokens included, in its own sequence.
    runs : list of (count, length)
        Consecutive sequences of equal length.
    image_counts : Tensor of shape (n_items,), int64
        Image tokens of each sequence.
    order : Tensor of shape (n_tokens,), int64, or None
        Where each token of the row stands in [text tokens, image tokens]; None without images.
    image_vectors : Tensor of shape (n_image_tokens, image_dimension) or None
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    runs: list[tuple[int, int]]
    image_counts: torch.Tensor
    order: torch.Tensor | None = None
    image_vectors: torch.Tensor | None = None

    @property
    def n_items(self) -> int:
        """Number of sequences."""
        return sum(count for count, _ in self.runs)

    @property
    def n_tokens(self) -> int:
        """Number of tokens, image tokens included."""
        return len(self.positions)

    def to(self, device: torch.device) -> Pack:
        """The same pack on `device`."""

        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else to_device(tensor, device)

        return Pack(
            move(self.token_ids),
            move(self.positions),
            self.runs,
            move(self.image_counts),
            move(self.order),
            move(self.image_vectors),
        )


def make_packs(
    items: Items, selected: np.ndarray, chunk_tokens: int
) -> tuple[Iterator[Pack], np.ndarray]:
    """Cut the selected items into packs of at most `chunk_tokens` tokens (but at least one item).

    Parameters
    ----------
    items : Items
    selected : ndarray of shape (n,), int64
        Which items.
    chunk_tokens : int
        Upper bound of a pack's tokens, image tokens included.

    Returns
    -------
    packs : iterator of Pack
        Each is made when it is asked for: those of a whole data set would not fit at once.
    order : ndarray of shape (n,), int64
        Row j of the packs' embeddings, taken together, belongs to ``selected[order[j]]``.
    """
    text_lengths, image_counts = _lengths(items, selected)
    lengths = text_lengths + image_counts
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    parts = []
    start = 0
    while start < len(order):
        consumed = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, consumed + chunk_tokens, side="right")))
        parts.append(order[start:stop])
        start = stop
    packs = (_make_pack(items, selected[p], text_lengths[p], image_counts[p]) for p in parts)
    return packs, order


def sequence_lengths(items: Items, selected: np.ndarray) -> np.ndarray:
    """Tokens of each selected item, image tokens included, (n,) int64."""
    return np.add(*_lengths(items, selected))


def _lengths(items: Items, selected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of text, and of images."""
    image_counts = np.zeros(len(selected), dtype=np.int64)
    if items.images is not None:
        image_counts = (items.images.index[selected] >= 0).sum(axis=1)
    return items.tokens.lengths[selected], image_counts


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """``[starts[0], starts[0] + 1, ...]`` for `lengths[0]` steps, then the same for the next."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def _make_pack(
    items: Items, selected: np.ndarray, text_lengths: np.ndarray, image_counts: np.ndarray
) -> Pack:
    lengths = text_lengths + image_counts
    token_ids = items.tokens.ids[ranges(items.tokens.offsets[selected], text_lengths)]
    pack = Pack(
        torch.from_numpy(token_ids.astype(np.int64)),
        torch.from_numpy(ranges(np.zeros_like(lengths), lengths)),
        [(int(n), int(length)) for length, n in zip(*np.unique_counts(lengths), strict=True)],
        torch.from_numpy(image_counts),
    )
    if image_counts.any():
        starts = np.cumsum(lengths) - lengths
        slots = np.zeros_like(lengths)
        if items.image_slots is not None:
            slots = items.image_slots[selected]
        # Tokens from the slot on move back by the number of images.
        places = ranges(np.zeros_like(lengths), text_lengths)
        moved = np.where(
            places < np.repeat(slots, text_lengths), 0, np.repeat(image_counts, text_lengths)
        )
        image_places = ranges(starts + slots, image_counts)
        order = np.empty(int(lengths.sum()), dtype=np.int64)
        order[np.repeat(starts, text_lengths) + places + moved] = np.arange(len(token_ids))
        order[image_places] = len(token_ids) + np.arange(len(image_places))
        index = items.images.index[selected]
        pack.order = torch.from_numpy(order)
        pack.image_vectors = torch.from_numpy(items.images.vectors[index[index >= 0]])
    return pack
