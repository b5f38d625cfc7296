"""ViXMLClassifier: a small bidirectional encoder, one vector per image, label prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sklearn.utils._param_validation import StrOptions

from ._estimator._base import BaseXMCClassifier
from ._estimator._parameters import BACKENDS, Recipe, shared_constraints
from .encoders import TextEncoder

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


class ViXMLClassifier(BaseXMCClassifier):
    """Extreme multi-label classifier of texts with pictures.

    Documents and labels go through one small transformer encoder; each picture becomes one more
    token of the text (early fusion). Several kinds of evidence rank the labels of a document and
    are mixed, with weights chosen on held-out training documents: label prototypes (cosine
    between document and label), label vectors (a linear one-vs-all model over embedding,
    picture and sparse words), and the labels of the nearest training documents. See the
    :ref:`user guide <vixml>`.

    Most users touch five parameters: `train_encoder`, `encoder`, `label_text`, `memory` and
    `random_state`. Options of a part of the model are parameters of that part: of `evidence`,
    `objective`, `adapter`, `index` and the encoders. These are objects. Searches reach into them
    by names such as ``objective__margin`` or, with the name of a kind of evidence,
    ``label_vectors__anchor``.

    Parameters
    ----------
    encoder : str, path-like or TextEncoder, default="sentence-transformers/all-MiniLM-L6-v2"
        Text encoder: a folder, a model that an installed package carries, or a name on the
        hub; any sentence-transformers or transformers encoder; or a
        :class:`~skxmc.encoders.TextEncoder`, which says more. ``"precomputed"`` takes X as
        ready embeddings, a float array of shape (n_samples, n_features).
    image_encoder : str, path-like, callable or ImageEncoder, default="efficientnet-lite0"
        Frozen model that turns a picture into one vector: a name as for `encoder` (SigLIP,
        CLIP, DINOv2, ViT), ``"open_clip:<model>/<weights>"``, ``"st:<model>"`` of
        sentence-transformers, ``"efficientnet-lite0"``, or a callable that maps a list of PIL
        images to an array of shape (n, d); or an :class:`~skxmc.encoders.ImageEncoder`. Not
        loaded unless pictures are given.
    train_encoder : {"full", "lora", "frozen"}, default="full"
        Whether all weights of the encoder are tuned, low-rank adapters, or none. "frozen" takes
        seconds to minutes, the others minutes to hours.
    label_text : sequence, mapping or table, default=None
        The labels' texts, one or a list of several for each (name, synonyms, description): a
        mapping of id to these (dict, Series), a table with the columns ``id``, ``text`` or
        ``texts``, ``image`` and ``parent``, or a sequence in the order of y's columns, whose texts
        are the labels' names. None takes the names in y. See :ref:`labels`.
    label_images : sequence of length n_labels or mapping of id to pictures, default=None
        The labels' pictures, in the same forms as `images` in :meth:`fit`.
    evidence : list of Evidence or str, default=None
        Kinds of evidence that rank labels, from :mod:`skxmc.evidence` or your own. None takes
        ``[Prototypes(), Neighbours(), LabelVectors()]``. With a weight that is given, as in
        ``Neighbours(weight=0.3)``, the mixture is not re-ranked, so that the number is the share
        in the final score.
    objective : Objective or str, default=None
        What the encoder is tuned for, from :mod:`skxmc.objectives` or your own. None takes
        ``Prime()``; ``LinearHead()`` is for labels that have no text.
    adapter : LoRA, default=None
        The adapters with ``train_encoder="lora"``; None takes ``LoRA()``.
    index : {"auto", "exact", "hnsw", "ivf", "pgvector", "qdrant"} or Index, default="auto"
        Search over prototypes and documents; "auto" is exact up to the size where approximate
        search is faster (500,000 vectors of width 384), above it "hnsw" with vectors stored in
        int8, built by all threads; "hnsw" itself stores float32 and builds with one thread.
    text_features : {"embedding", "tfidf", "both"}, default="both"
        What label vectors see of a text: its embedding, TF-IDF of words and character n-grams,
        or both; with "both" and more than 131,072 labels, its embedding alone. With a frozen
        encoder, prototypes and neighbours also compare TF-IDF words, except with ``"embedding"``.
    text_column : str or sequence of str, default="text"
        Column of X with the texts, if X is a table; those of several columns are joined by ". ".
    image_column : str, default="image"
        Column of X with the pictures, if X is a table.
    epochs : int, default=12
        Passes over the documents when the encoder is tuned.
    max_steps : int or None, default=None
        Most optimisation steps of the encoder's tuning, and likewise of the label vectors'
        training; warm-up and decay span so many. None sets no bound but `epochs`.
    batch_size : "auto" or int, default="auto"
        Documents of a batch, cut into chunks that fit in memory (gradient caching): a large batch
        costs time, not memory. "auto" takes the power of two, from 32 to 512, that is nearest to 8
        batches an epoch.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of the encoder. "auto" goes by its weights without the table of tokens:
        8e-4 up to 30 million (MiniLM), 2e-4 up to 60 (DistilBERT), 1e-4 up to 200 (BERT base),
        5e-5 above.
    training : Training, default=None
        Options of the optimiser and of the batches; None takes ``Training()``.
    validation : float or Validation, default=None
        Which documents are held out, and the metric that is tuned on them; a number is their
        share. None takes ``Validation()``. ``Validation(patience=3)`` stops tuning early.
    threshold : "auto", "per-label", float in [0, 1] or Precision, default="auto"
        Probability above which :meth:`predict` gives a label. "auto" has the best micro-averaged
        F1 on held-out documents, "per-label" is one for each label, and a
        :class:`~skxmc.model_selection.Precision` is the lowest that keeps a wanted precision.
    device : str, default="auto"
        "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Type of matrix products; "auto" is bfloat16 where the device multiplies it fast.
    backend : {"torch", "openvino"}, default="torch"
        What runs the text encoder in prediction. "openvino", on a CPU, multiplies by weights in
        integers of 8 bits, for BERT, RoBERTa and XLM-R: embeddings are off by a cosine of 0.001,
        and without AMX take half to two thirds of the time. A fitted or loaded model takes it by
        ``set_params``. Needs the extra ``openvino``.
    memory : str, path-like or joblib.Memory, default=None
        Folder that keeps picture vectors and embeddings of the frozen encoder and, with a
        `random_state`, the state of tuning, written once a minute: a fit that was killed goes on
        from there, and equal tuning is not repeated.
    random_state : int, RandomState instance or None, default=None
        Pass an int for fits that are equal to the bit on one machine with the same number of
        threads. The exception is ``index="auto"`` with so many vectors that several threads build
        a graph, which depends on their timing.
    verbose : int, default=0
        1 shows a progress bar an epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Ids of the labels; the column numbers of Y if it has no names.
    document_ids_ : ndarray of shape (n_documents,), int64 or object, or None
        Ids of the training documents; None if :meth:`fit` was given none.
    evidence_ : dict of str to Evidence
        The fitted kinds of evidence.
    history_ : list of dict
        One entry an epoch of tuning: loss, learning rate, seconds, documents per second, and
        validation figures.
    image_encoder_ : ImageEncoder or None
        The picture encoder; None if the model was fitted without pictures to encode.
    label_parents_ : list of list of int, or None
        Columns of the parents of each label, if `label_text` says any.
    label_texts_ : list of list of str, or None
        The texts of each label; None if labels are numbers without texts.
    n_features_in_ : int
        Number of features, with ``encoder="precomputed"``.
    ranker_ : Ranker
        Collects the evidence, mixes and re-ranks it.
    threshold_ : float, or ndarray of shape (n_labels,), float32
        Probability above which a label is predicted.
    tower_ : TextTower or None
        The text encoder.

    References
    ----------
    "Large Language Models Meet Extreme Multi-label Classification: Scaling and Multi-modal
    Framework", AAAI 2026 (arXiv 2511.13189); "PRIME", NAACL 2025 (arXiv 2410.20401); "NGAME",
    WSDM 2023; "UniDEC", WWW 2025 (arXiv 2405.03714).

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> texts = ["red apple", "green apple", "red car", "fast car", "green tree"]
    >>> tags = [["fruit", "red"], ["fruit"], ["vehicle", "red"], ["vehicle"], ["plant"]]
    >>> clf = ViXMLClassifier(train_encoder="frozen", random_state=0).fit(texts, tags)
    >>> labels, scores = clf.predict_topk(["a red fruit"], k=2)
    >>> labels.shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **shared_constraints,
        "backend": [StrOptions(set(BACKENDS))],
    }

    _recipe: ClassVar[Recipe] = Recipe(
        encoder=TextEncoder,
        lora_rank=64,
        merge_adapters=True,
        n_batches=8,
        head_learning_rate=3e-3,
        max_grad_norm=None,
        max_graph_memory=1.5e9,
    )

    def __init__(
        self,
        encoder: Any = "sentence-transformers/all-MiniLM-L6-v2",
        image_encoder: (
            str | os.PathLike[str] | Callable[..., Any] | ImageEncoder
        ) = "efficientnet-lite0",
        *,
        train_encoder: str = "full",
        label_text: Any = None,
        label_images: Any = None,
        evidence: Sequence[Evidence | str] | None = None,
        objective: Objective | str | None = None,
        adapter: LoRA | None = None,
        index: str | Index = "auto",
        text_features: str = "both",
        text_column: str | Sequence[str] = "text",
        image_column: str = "image",
        epochs: int = 12,
        max_steps: int | None = None,
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        training: Training | None = None,
        validation: float | Validation | None = None,
        threshold: str | float | Precision = "auto",
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
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
        self.backend = backend
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose
