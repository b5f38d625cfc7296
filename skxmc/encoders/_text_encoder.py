"""What a user says of a text encoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import torch

    from .._backbones._sources import ModelSource


class TextEncoder(BaseEstimator):
    """A bidirectional encoder of texts, and its options.

    Pass it as `encoder` of :class:`~skxmc.ViXMLClassifier` when the name alone is not enough.

    Parameters
    ----------
    name : str, path-like, object or callable
        A folder, a model that an installed package carries, or a name on the hub; any encoder of
        sentence-transformers or transformers, or a table of word vectors of model2vec. Or a loaded
        ``SentenceTransformer``, of which a copy is taken. Or any other object with a method
        ``encode``, or callable, that maps a list of str to an array of shape (n, d). Tables,
        objects and callables are used as they are: they need ``train_encoder="frozen"``. By
        default "sentence-transformers/all-MiniLM-L6-v2".
    max_length : int or None, default=None
        Longest text in tokens; None takes the encoder's own limit, at most 256.
    max_chunks : int, default=1
        Most parts of `max_length` tokens that a longer text is encoded in, each by itself; its
        embedding is the mean of theirs. 1 cuts what is too long. Only with
        ``train_encoder="frozen"``.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.
    prompt, label_prompt : str or None, default="auto"
        What stands before the texts of documents, and before those of labels: any text, or the name
        of one of the model's own prompts, such as "query". "auto" takes the model's default
        prompt, as its ``encode`` does, and none where it has no default. None is none. The authors
        of e5 want ``prompt="query: ", label_prompt="passage: "``.
    dimension : int or None, default=None
        Numbers that an embedding keeps, the first ones; for models that were trained so that these
        do almost as well. None takes what the model's folder says, and else all.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.encoders import TextEncoder
    >>> clf = ViXMLClassifier(TextEncoder("all-MiniLM-L6-v2", max_length=32))
    >>> clf.get_params()["encoder__max_length"]
    32
    """

    #: What kind of model it is, for `find_model`.
    kind = "text"

    #: Whether each token gets a vector that evidence may compare.
    gives_tokens = True

    def __init__(
        self,
        name: str | os.PathLike | Callable = "sentence-transformers/all-MiniLM-L6-v2",
        max_length: int | None = None,
        max_chunks: int = 1,
        trust_remote_code: bool = False,
        prompt: str | None = "auto",
        label_prompt: str | None = "auto",
        dimension: int | None = None,
    ) -> None:
        self.name = name
        self.max_length = max_length
        self.max_chunks = max_chunks
        self.trust_remote_code = trust_remote_code
        self.prompt = prompt
        self.label_prompt = label_prompt
        self.dimension = dimension

    def find(self) -> ModelSource | None:
        """Find the model's files, or download them.

        Returns
        -------
        source : ModelSource or None
            Where they are; None for an object, which has none.
        """
        from .._backbones._sources import find_model

        if not isinstance(self.name, str | os.PathLike):
            return None
        return find_model(self.name, kind=self.kind, trust_remote_code=self.trust_remote_code)

    def load(
        self, source: ModelSource | None, *, max_images: int, weights_dtype: torch.dtype
    ) -> Any:
        """The pretrained tower, on the CPU.

        Parameters
        ----------
        source : ModelSource or None
            Where the files are; None for an object.
        max_images : int
            Positions to leave free for pictures.
        weights_dtype : torch.dtype
            Of weights that are never trained; those of a text encoder are float32.

        Returns
        -------
        tower : TextTower or FrozenTower

        Raises
        ------
        ValueError
            If the model does something that skxmc does not.
        """
        from .._towers._frozen import FunctionTower, read_static
        from .._towers._text import load_text_tower

        if source is None and not hasattr(self.name, "get_sentence_embedding_dimension"):
            return FunctionTower(getattr(self.name, "encode", self.name))
        static = None if source is None else read_static(source.path, self.max_length)
        if static is not None:
            return static
        return load_text_tower(
            self.name if source is None else str(source.path),
            max_length=self.max_length,
            max_chunks=self.max_chunks,
            prompt=self.prompt,
            label_prompt=self.label_prompt,
            dimension=self.dimension,
            trust_remote_code=self.trust_remote_code,
            max_images=max_images,
        )

    def encode(self, texts: Sequence[str]) -> Any:
        """Embeddings of texts, for programs of one's own; the model is loaded for each call.

        Parameters
        ----------
        texts : sequence of str
            Read as documents are.

        Returns
        -------
        embeddings : ndarray of shape (n_texts, dimension), float32
            Of unit norm.
        """
        import torch

        tower = self.load(self.find(), max_images=0, weights_dtype=torch.float32)
        return tower.encode(tower.items(list(texts)))

    def calibrate(self, tower: Any, texts: list[str], precision: torch.dtype) -> None:
        """Let the pretrained tower see the training texts; a text encoder has no use for them.

        Parameters
        ----------
        tower : Tower
            As :meth:`load` gave it.
        texts : list of str
            The training texts.
        precision : torch.dtype
            Precision of matrix products.
        """
