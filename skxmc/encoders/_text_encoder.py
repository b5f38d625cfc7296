"""What a user says of a text encoder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

if TYPE_CHECKING:
    import torch

    from .._backbones._sources import ModelSource


class TextEncoder(BaseEstimator):
    """A bidirectional encoder of texts, with what belongs to it.

    Pass it as `encoder` of :class:`~skxmc.ViXMLClassifier` where the name alone does not say
    enough.

    Parameters
    ----------
    name : str or path-like, default="sentence-transformers/all-MiniLM-L6-v2"
        A folder, a model that an installed package carries, or a name on the hub; any encoder of
        sentence-transformers or transformers.
    max_length : int or None, default=None
        Longest text in tokens; None takes the encoder's own limit, at most 256.
    trust_remote_code : bool, default=False
        Whether code that comes with the model may run.

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
        name: str | os.PathLike = "sentence-transformers/all-MiniLM-L6-v2",
        max_length: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.name = name
        self.max_length = max_length
        self.trust_remote_code = trust_remote_code

    def load(self, source: ModelSource, *, max_images: int, weights_dtype: torch.dtype) -> Any:
        """The pretrained tower, on the CPU.

        Parameters
        ----------
        source : ModelSource
            Where the files are.
        max_images : int
            Positions to leave free for pictures.
        weights_dtype : torch.dtype
            Of weights that are never trained; those of a text encoder are float32.

        Returns
        -------
        tower : TextTower
        """
        from .._towers._text import load_text_tower

        return load_text_tower(
            str(source.path),
            max_length=self.max_length,
            trust_remote_code=self.trust_remote_code,
            max_images=max_images,
        )

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
