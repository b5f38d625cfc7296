"""DecoderXMCClassifier: a decoder-only language model as the Siamese tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from sklearn.utils.validation import check_is_fitted

from ._estimator._base import BaseXMCClassifier
from ._estimator._parameters import Recipe, shared_constraints
from .encoders import LanguageModel

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from joblib import Memory
    from numpy.random import RandomState

    from .encoders import ImageEncoder, LoRA
    from .evidence import Evidence
    from .indexes import Index
    from .model_selection import Precision, Validation
    from .objectives import Objective, Training


class DecoderXMCClassifier(BaseXMCClassifier):
    """Extreme multi-label classifier of texts with pictures, over a language model.

    A decoder-only language model without its head embeds documents and labels alike (dual-decoder
    learning): a prompt stands around the text and the pictures, of which each is one token, and
    the hidden states are pooled. Low-rank adapters are trained; the base stays as it is. All
    else is as in :class:`ViXMLClassifier`: hard-negative batches, prototypes, label vectors,
    neighbours, their mixture. See the :ref:`user guide <decoder>`.

    Most users touch five parameters: `encoder`, `train_encoder`, `label_text`, `memory` and
    `random_state`. Prompts, pooling, 4-bit weights and the like belong to the model and are
    parameters of :class:`~skxmc.encoders.LanguageModel`.

    Parameters
    ----------
    encoder : str, path-like or LanguageModel, default="HuggingFaceTB/SmolLM2-135M-Instruct"
        Language model: a folder (of transformers, or with one GGUF file), a model that an
        installed package carries, or a name on the hub; or a
        :class:`~skxmc.encoders.LanguageModel`, which says more. ``"precomputed"`` takes X as ready
        embeddings, a float array of shape (n_samples, n_features).
    image_encoder : str, path-like, callable or ImageEncoder, default="efficientnet-lite0"
        Frozen model that turns a picture into one vector, as in :class:`ViXMLClassifier`.
    train_encoder : {"lora", "full", "frozen"}, default="lora"
        Whether low-rank adapters are trained, all weights, or none.
    label_text : sequence, mapping or table, default=None
        The labels' texts, one or a list of several for each (name, synonyms, description): a
        mapping of id to these (dict, Series), a table with the columns ``id``, ``text`` or
        ``texts``, ``image`` and ``parent``, or a sequence in the order of y's columns, whose texts
        are the labels' names. None takes the names in y. See :ref:`labels`.
    label_images : sequence of length n_labels or mapping of id to pictures, default=None
        The labels' pictures, in the same forms as `images` in :meth:`fit`.
    evidence : list of Evidence or str, default=None
        Kinds of evidence that rank labels, as in :class:`ViXMLClassifier`.
    objective : Objective or str, default=None
        What the model is tuned for, as in :class:`ViXMLClassifier`. If the pretrained model
        hardly separates texts, as small language models do, the margin loss of prototypes alone
        makes all embeddings collapse; the softmax of the linear head, which ``Prime()`` also
        trains, prevents it.
    adapter : LoRA, default=None
        The adapters with ``train_encoder="lora"``; None takes ``LoRA()``.
    index : {"auto", "exact", "hnsw", "ivf", "pgvector", "qdrant"} or Index, default="auto"
        Search over prototypes and documents, as in :class:`ViXMLClassifier`.
    text_features : {"embedding", "tfidf", "both"}, default="both"
        What label vectors see of a text; as in :class:`ViXMLClassifier`.
    text_column : str or sequence of str, default="text"
        Column of X with the texts, if X is a table; those of several columns are joined by ". ".
    image_column : str, default="image"
        Column of X with the pictures, if X is a table.
    epochs : int, default=8
        Passes over the documents when the model is tuned.
    max_steps : int or None, default=None
        Most optimisation steps of the model's tuning, and likewise of the label vectors'
        training; warm-up and decay span so many. None sets no bound but `epochs`.
    batch_size : "auto" or int, default="auto"
        Documents of a batch, cut into chunks that fit in memory. "auto" takes the power of two,
        from 32 to 512, that is nearest to 32 batches an epoch.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of adapters, or of all weights. "auto" goes by the weights without the
        table of tokens: 3e-4 up to 150 million (SmolLM2-135M), 5e-5 above.
    training : Training, default=None
        Options of the optimiser and of the batches; None takes ``Training()``.
    validation : float or Validation, default=None
        Which documents are held out, and the metric that is tuned on them, as in
        :class:`ViXMLClassifier`.
    threshold : "auto", "per-label", float in [0, 1] or Precision, default="auto"
        Probability above which :meth:`predict` gives a label, as in :class:`ViXMLClassifier`.
    device : str, default="auto"
        "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Type of matrix products and of frozen base weights; "auto" is bfloat16 where the device
        multiplies it fast.
    memory : str, path-like or joblib.Memory, default=None
        Folder that keeps picture vectors and embeddings of the frozen model and, with a
        `random_state`, the state of tuning, written once a minute: a fit that was killed goes on
        from there, and equal tuning is not repeated.
    random_state : int, RandomState instance or None, default=None
        Pass an int for fits that are equal to the bit on one machine with the same number of
        threads, as far as `index` allows.
    verbose : int, default=0
        1 shows a progress bar an epoch.

    Attributes
    ----------
    classes_, document_ids_, evidence_, history_, image_encoder_, label_texts_, ranker_, \
threshold_, tower_
        As in :class:`ViXMLClassifier`; `tower_` is a DecoderTower.

    References
    ----------
    "Large Language Models Meet Extreme Multi-label Classification: Scaling and Multi-modal
    Framework", AAAI 2026 (arXiv 2511.13189), Section 3 (dual-decoder learning).

    Examples
    --------
    With ready embeddings no language model is needed:

    >>> import numpy as np
    >>> from skxmc import DecoderXMCClassifier
    >>> clf = DecoderXMCClassifier("precomputed").fit(np.eye(3), [["a"], ["b"], ["a", "c"]])
    >>> clf.predict_topk(np.eye(3)[[1]], k=1, return_labels=True)[0]
    array([['b']], dtype=object)
    """

    _parameter_constraints: dict = {**shared_constraints}

    _recipe: ClassVar[Recipe] = Recipe(
        encoder=LanguageModel,
        lora_rank=16,
        merge_adapters=False,  # they are what is saved
        n_batches=32,  # adapters move less in a step than all weights do
        head_learning_rate=5e-3,
        max_grad_norm=1.0,
        max_graph_memory=2e9,
    )

    def __init__(
        self,
        encoder: str | os.PathLike[str] | LanguageModel = "HuggingFaceTB/SmolLM2-135M-Instruct",
        image_encoder: (
            str | os.PathLike[str] | Callable[..., Any] | ImageEncoder
        ) = "efficientnet-lite0",
        *,
        train_encoder: str = "lora",
        label_text: Any = None,
        label_images: Any = None,
        evidence: Sequence[Evidence | str] | None = None,
        objective: Objective | str | None = None,
        adapter: LoRA | None = None,
        index: str | Index = "auto",
        text_features: str = "both",
        text_column: str | Sequence[str] = "text",
        image_column: str = "image",
        epochs: int = 8,
        max_steps: int | None = None,
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        training: Training | None = None,
        validation: float | Validation | None = None,
        threshold: str | float | Precision = "auto",
        device: str = "auto",
        precision: str = "auto",
        memory: str | os.PathLike[str] | Memory | None = None,
        random_state: int | RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.image_encoder = image_encoder
        self.train_encoder = train_encoder
        self.label_text = label_text
        self.label_images = label_images
        self.evidence = evidence
        self.objective = objective
        self.adapter = adapter
        self.index = index
        self.text_features = text_features
        self.text_column = text_column
        self.image_column = image_column
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.training = training
        self.validation = validation
        self.threshold = threshold
        self.device = device
        self.precision = precision
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def merge_adapter(self) -> Self:
        """Fold the adapters into the base weights, for serving: faster, and larger on disk.

        Returns
        -------
        self : object
            Embeddings change by rounding only.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If there are no adapters.
        """
        check_is_fitted(self)
        from ._backbones._lora import has_adapters, merge_adapters

        if self.tower_ is None or not has_adapters(self.tower_.backbone.model):
            raise ValueError("the model has no adapters; fit with train_encoder='lora' first.")
        merge_adapters(self.tower_.backbone.model)
        return self
