"""Everything between a user's documents and their features."""

from __future__ import annotations

from functools import partial
from typing import Any

import joblib
import numpy as np

from .._features._blocks import Features, mean_rows, unit_rows
from .._features._tokens import Tokens, TokenVectors
from .._features._whitening import PICTURE_SCALE, ImageWhitener
from .._inputs._images import ImageFeatures, ImageItems, with_pictures
from .._inputs._label_set import flatten_texts, joined_texts
from .._runtime import group, limits
from .._runtime._memory import check_memory, recall, with_digest


class Featurizer:
    """Everything between a user's documents and their :class:`Features`.

    Parameters
    ----------
    tower : Tower or None
        The text encoder; None where documents come as ready embeddings.
    image_encoder : ImageEncoder or None
        None where there are no pictures to encode.
    precision : str
        Of matrix products, "float32" or "bfloat16".

    Attributes
    ----------
    whitener : ImageWhitener or None
        None where the documents had no pictures.
    words : SparseTextFeatures or None
        None where nothing sees words.
    """

    def __init__(self, tower: Any, image_encoder: Any, precision: str) -> None:
        self.tower = tower
        self.image_encoder = image_encoder
        self.precision = precision
        self.whitener: ImageWhitener | None = None
        self.words: Any = None
        self._serving: tuple[Any, Any] = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_serving": (None, None)}

    # -- learning -----------------------------------------------------------------------------

    def fit_words(self, texts: list[str], *, required: bool) -> None:
        """Learn words and n-grams; texts without words are an error only where `required`."""
        from .._features._words import SparseTextFeatures

        try:
            self.words = SparseTextFeatures().fit(texts)
        except ValueError:
            if required:
                raise  # else the embedding alone has to do

    def fit_images(
        self,
        images: ImageItems | ImageFeatures | None,
        label_images: ImageItems | ImageFeatures | None,
        missing: str,
    ) -> tuple[ImageFeatures | None, ImageFeatures | None]:
        """Encode pictures of documents and labels, and learn to whiten those of documents."""
        images = with_pictures(self._encode_images_once(images, missing))
        if images is not None:
            self.whitener = ImageWhitener().fit(images)
        elif label_images is not None:
            raise ValueError(
                "label_images is given, but no document has a picture; pass images to fit."
            )
        return images, with_pictures(self._encode_images_once(label_images, missing))

    def _encode_images_once(
        self, images: ImageItems | ImageFeatures | None, missing: str
    ) -> ImageFeatures | None:
        """Vectors of pictures; of several processes the first encodes them, and all get them."""
        if group.size() == 1 or not isinstance(images, ImageItems):
            return self.encode_images(images, missing)
        made: list[ImageFeatures] = []

        def encode() -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
            made.append(self.encode_images(images, missing))
            return made[0].index, made[0].widths, made[0].vectors.shape

        index, widths, shape = group.first(encode)
        vectors = made[0].vectors if made else np.empty(shape, dtype=np.float32)
        return ImageFeatures(group.broadcast(vectors), index, widths)

    def encode_untuned(
        self,
        X: Any,
        digest: str,
        memory: Any,
        *,
        of_labels: bool = False,
        verbose: int = 0,
    ) -> np.ndarray:
        """Embeddings of the pretrained encoder, cached where there is a memory.

        Where several processes fit, each encodes some of the texts, and all have to call it.

        Parameters
        ----------
        X : list of str, or ndarray of ready embeddings
            The latter are returned as they are.
        digest : str or None
            Hash of the encoder's files; without one nothing is cached.
        memory : str, joblib.Memory or None
        of_labels : bool, default=False
            Whether the texts are those of labels, which may have another prompt.
        verbose : int, default=0
            Whether a progress bar is shown.
        """
        if self.tower is None:
            return X
        memory = None if digest is None else memory
        cached = check_memory(memory).cache(
            _encode_texts, ignore=["featurizer", "verbose", "known"]
        )
        key = (digest, self.tower.settings(), self.precision)
        embeddings = np.empty((len(X), self.tower.dimension), dtype=np.float32)
        for start in range(0, len(X), limits.ROWS):  # a crash loses one block at most
            block = X[start : start + limits.ROWS]
            arguments = (key, block, of_labels)
            found = embeddings[start : start + len(block)]
            if group.size() == 1:
                found[:] = recall(cached, *arguments, featurizer=self, verbose=verbose)
            else:
                self._encode_shares(cached, arguments, found, verbose)
        return embeddings

    def _encode_shares(self, cached: Any, arguments: tuple, out: np.ndarray, verbose: int) -> None:
        """Embeddings of a block of texts; the first process looks into the cache, and fills it."""
        options = {"featurizer": self, "verbose": verbose}
        looked_up = group.rank() == 0 and _is_kept(cached, arguments, options)
        if group.same(looked_up):
            if group.rank() == 0:
                out[:] = recall(cached, *arguments, **options)
            group.broadcast(out)
            return
        _, texts, of_labels = arguments
        progress = "documents" if verbose else None
        group.compute_shares(
            group.shares(np.array([len(text) for text in texts])),
            lambda rows: self.encode(
                [texts[row] for row in rows], of_labels=of_labels, progress=progress
            ),
            out,
        )
        if group.rank() == 0:
            cached(*arguments, **options, known=out)

    def encode_labels(self, texts: list[list[str]], digest: str, memory: Any) -> np.ndarray:
        """Embeddings of labels by the pretrained encoder: of several texts, their mean."""
        flat, owner = flatten_texts(texts)
        return mean_rows(self.encode_untuned(flat, digest, memory, of_labels=True), owner)

    # -- features -----------------------------------------------------------------------------

    def encode_images(
        self, images: ImageItems | ImageFeatures | None, missing: str = "raise"
    ) -> ImageFeatures | None:
        """One vector for each distinct picture; ready ones stay as they are."""
        if not isinstance(images, ImageItems):
            return images
        return self.image_encoder.encode(images, missing=missing)

    def encode(
        self,
        texts: list[str],
        images: ImageFeatures | None = None,
        tower: Any = None,
        *,
        progress: str | None = None,
        of_labels: bool = False,
    ) -> np.ndarray:
        """Embeddings of unit norm, (n, dimension) float32.

        `tower` may be one for serving; `progress` is the title of a progress bar.
        """
        import torch

        tower = self.tower if tower is None else tower
        precision = getattr(torch, self.precision)
        if tower.max_chunks == 1:
            items = tower.items(texts, images, of_labels=of_labels)
            return tower.encode(items, precision=precision, progress=progress)
        parts, owner = tower.chunks(texts, of_labels=of_labels)
        return mean_rows(tower.encode(parts, precision=precision, progress=progress), owner)

    def serving_tower(self, backend: str = "torch") -> Any:
        """The tower with weights that are cast once; made again when somebody changed them."""
        import torch

        state = (backend, self.precision, self.tower.fingerprint())
        seen, tower = self._serving
        if state != seen:
            tower = self.tower.for_serving(getattr(torch, self.precision), backend)
            self._serving = state, tower
        return tower

    def features(
        self, X: list[str] | np.ndarray, images: ImageFeatures | None, backend: str = "torch"
    ) -> Features:
        """All blocks of documents; X are texts or, without a tower, ready embeddings.

        `backend` is what runs the tower.
        """
        if self.tower is None:
            return self.complete(X, X, images)
        if not len(X):
            embeddings = np.zeros((0, self.tower.dimension), dtype=np.float32)
            return self.complete(embeddings, X, images, backend)
        # Each distinct document once: equal ones would be encoded, and then searched, again.
        distinct, places = _distinct_documents(X, images)
        if len(distinct) < len(X):
            X = [X[row] for row in distinct]
            images = None if images is None else images.take(distinct)
        embeddings = self.encode(X, images, self.serving_tower(backend))
        features = self.complete(embeddings, X, images, backend)
        return features if len(X) == len(places) else features.take(places)

    def label_features(
        self, texts: list[list[str]], images: ImageFeatures | None, *, tuned: bool
    ) -> Features:
        """All blocks of new labels, made as in fit.

        A tuned encoder reads all texts of a label as one; those of another are averaged.
        """
        tower = self.serving_tower()
        if tuned:
            embeddings = self.encode(joined_texts(texts), images, tower, of_labels=True)
            return self.complete_labels(embeddings, texts, images)
        flat, owner = flatten_texts(texts)
        pictures = None if images is None else images.take(owner)
        embeddings = mean_rows(self.encode(flat, pictures, tower, of_labels=True), owner)
        return self.complete_labels(embeddings, texts, images)

    def complete(
        self,
        embeddings: np.ndarray,
        X: list[str] | np.ndarray,
        images: ImageFeatures | None,
        backend: str = "torch",
    ) -> Features:
        """The blocks that stand beside ready embeddings of documents."""
        words = None if self.words is None else self.words.transform(X)
        return Features(
            embeddings, self._picture_block(len(X), images), words, self._tokens(X, backend)
        )

    def complete_labels(
        self, embeddings: np.ndarray, texts: list[list[str]], images: ImageFeatures | None
    ) -> Features:
        """The blocks that stand beside ready embeddings of labels.

        Words of several texts are averaged like embeddings, so that a long description does not
        drown a short name.
        """
        flat, owner = flatten_texts(texts)
        words = None if self.words is None else mean_rows(self.words.transform(flat), owner)
        return Features(embeddings, self._picture_block(len(texts), images), words)

    def _tokens(self, X: list[str] | np.ndarray, backend: str) -> Tokens | None:
        """The texts, whose tokens are encoded when evidence asks for them."""
        if self.tower is None or not self.tower.gives_tokens:
            return None
        return Tokens(X, partial(self._encode_tokens, backend=backend))

    def _encode_tokens(self, texts: list[str], backend: str) -> TokenVectors:
        import torch

        tower = self.serving_tower(backend)
        return tower.encode_tokens(texts, precision=getattr(torch, self.precision))

    def _picture_block(self, n_items: int, images: ImageFeatures | None) -> np.ndarray | None:
        if self.whitener is None:
            return None
        if images is None:
            width = self.whitener.components_.shape[1]
            return np.zeros((n_items, width), dtype=np.float32)
        return PICTURE_SCALE * unit_rows(self.whitener.transform(images).mean())

    def move_to(self, device: Any, precision: str) -> None:
        """Compute on another device, or in another precision."""
        import torch

        self.precision = precision
        if self.tower is not None:
            self.tower.to(device)
        if self.image_encoder is not None:
            self.image_encoder.device = torch.device(device)
            self.image_encoder.precision = getattr(torch, precision)


def digest_of(tower: Any) -> str | None:
    """Hash of a tower's weights; None if it has none that could be read."""
    if not hasattr(tower, "state_dict"):
        return None
    return joblib.hash({name: part.cpu().numpy() for name, part in tower.state_dict().items()})


def _is_kept(cached: Any, arguments: tuple, options: dict[str, Any]) -> bool:
    """Whether a cache has the result of a call."""
    look = getattr(cached, "check_call_in_cache", None)  # a memory of another kind may lack it
    return look is not None and look(*arguments, **options, known=None)


def _encode_texts(
    key: tuple,
    texts: list[str],
    of_labels: bool,
    featurizer: Featurizer,
    verbose: int,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, str]:
    """Embeddings of texts; `key` names encoder and settings where the result is cached.

    `known` are those that several processes have computed together.
    """
    if known is not None:
        return with_digest(known)
    progress = "documents" if verbose else None
    return with_digest(featurizer.encode(texts, of_labels=of_labels, progress=progress))


def _distinct_documents(
    texts: list[str], images: ImageFeatures | None
) -> tuple[np.ndarray, np.ndarray]:
    """The first of each set of equal documents, and which of these each document is equal to."""
    rows = [b""] * len(texts) if images is None else [row.tobytes() for row in images.index]
    first: dict[tuple[str, bytes], int] = {}
    places = [first.setdefault(document, len(first)) for document in zip(texts, rows, strict=True)]
    return np.unique(places, return_index=True)[1], np.array(places)
