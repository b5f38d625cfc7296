"""ViXMLClassifier: a small bidirectional encoder, one vector per image, label prototypes."""

from __future__ import annotations

import numpy as np
from sklearn.utils._param_validation import StrOptions

from ._base import BaseXMCClassifier
from ._parameters import BACKENDS, shared_constraints


class ViXMLClassifier(BaseXMCClassifier):
    """Extreme multi-label classifier of texts with pictures.

    Documents and labels go through one small transformer encoder; each picture becomes one more
    token of the text (early fusion). Three kinds of evidence rank the labels of a document and
    are mixed with weights chosen on held-out training documents: label prototypes (cosine
    between document and label), label vectors (a linear one-vs-all model over embedding,
    picture and sparse words), and the labels of the nearest training documents. See the
    :ref:`user guide <vixml>`.

    Parameters
    ----------
    encoder : str, default="sentence-transformers/all-MiniLM-L6-v2"
        Text encoder: a folder, a model that an installed package carries, or a name on the
        hub; any sentence-transformers or transformers encoder. ``"precomputed"`` takes X as
        ready embeddings, a float array of shape (n_samples, n_features).
    image_encoder : str or callable, default="efficientnet-lite0"
        Frozen model that turns a picture into one vector: a name as for `encoder` (SigLIP,
        CLIP, DINOv2, ViT), ``"open_clip:<model>/<weights>"``, ``"efficientnet-lite0"``, or a
        callable that maps a list of PIL images to an array of shape (n, d). Not loaded unless
        pictures are given.
    label_text : sequence of str of length n_labels, default=None
        The labels' texts, in the order of Y's columns. None takes the label names if Y is
        given as lists of names.
    label_images : sequence of length n_labels, default=None
        The labels' pictures, in the same forms as `images` in :meth:`fit`.
    train_encoder : {"full", "lora", "frozen"}, default="full"
        Whether all weights of the encoder are tuned, low-rank adapters, or none.
    text_features : {"embedding", "tfidf", "both"}, default="both"
        What label vectors see of a text: its embedding, TF-IDF of words and character n-grams,
        or both; with "both" and more than 131,072 labels, its embedding alone. Prototypes and
        neighbours of an untuned encoder compare embeddings, and words beside them unless it is
        "embedding".
    refine_labels : bool, default=True
        Whether label vectors are learned.
    retrieval_augmentation : "auto" or float in [0, 1], default="auto"
        Share of the neighbours' labels in the mixture of evidence; "auto" chooses it on
        held-out documents, 0 switches neighbours off. With any other number the mixture is not
        re-ranked, so that the number is the share in the final score.
    prototypes : bool or "linear", default=True
        Whether prototypes are part of training (PRIME) and of the mixture of evidence. Without
        them labels are represented by their text alone. "linear" trains the encoder below a
        linear head over the labels, one free vector each, for labels that have no text.
    head_loss : {"decoupled_softmax", "binary_cross_entropy"}, default="decoupled_softmax"
        Of the linear head.
    head_weight : float, default=0.3
        With ``prototypes=True`` the encoder is tuned below a linear head as well, up to 65,536
        labels; this is the weight of its loss. 0 leaves the head out. Dual encoder and
        classifier trained together find better embeddings than each alone (UniDEC).
    n_neighbors : int, default=50
        Training documents whose labels are considered.
    text_column, image_column : str, default="text" and "image"
        Columns of X, if X is a DataFrame.
    max_images : int, default=3
        Largest number of pictures an item may have.
    max_length : int or None, default=None
        Longest text in tokens; None takes the encoder's own limit, at most 256.
    epochs : int, default=12
        Passes over the documents when the encoder is tuned.
    max_steps : int or None, default=None
        Most optimisation steps of the encoder's tuning, and likewise of the label vectors'
        training; warm-up and decay span so many. None sets no bound but `epochs`.
    batch_size : "auto" or int, default="auto"
        Documents of a batch, cut into chunks that fit `max_graph_memory` (gradient caching):
        a large batch costs time, not memory. "auto" takes the power of two, from 32 to 512, that
        is nearest to 8 batches an epoch.
    learning_rate : float, default=8e-4
        Peak learning rate of the encoder.
    head_learning_rate : float, default=3e-3
        Peak learning rate of prototypes and image projection.
    weight_decay : float, default=0.01
        Of AdamW; none on biases, LayerNorm weights and free vectors.
    warmup_steps : int, default=100
        Steps of linear warm-up, at most a fifth of all.
    n_negatives : int, default=10
        Hardest negatives of each document in the loss.
    margin : tuple of float, default=(0.1, 0.3)
        Bounds of the dynamic margin, in units of cosine.
    regularization : float, default=0.1
        Weight of the regulariser that keeps prototypes as good as label texts.
    hard_negatives : bool, default=True
        Whether batches are made of clusters of similar documents after the first epochs.
    propensity : tuple of float, default=(0.55, 1.5)
        Constants (A, B) of the label propensities; (0.6, 2.6) is usual for Amazon, (0.5, 0.4)
        for Wikipedia data sets.
    lora_rank : int, default=64
        Rank of the adapters with ``train_encoder="lora"`` (rank-stabilised, alpha = rank).
    max_graph_memory : float, default=1.5e9
        Bytes for the graphs of a batch. What does not fit is run twice, which takes a third more
        time for its part.
    validation_fraction : "auto" or float in (0, 1), default="auto"
        Share of the documents held out to choose mixture and threshold, and for early
        stopping, at most 5,000 of them. They are trained on as well wherever that costs little:
        label vectors and neighbours see all documents in the end (above 500,000 documents or
        labels, neighbours alone), the encoder does not see the held-out ones.
        "auto" is 0.05, or 0.1 where the encoder is not tuned and so misses none.
    validation_metric : str, default="mean"
        What the mixture and early stopping maximise: "precision_at_1", "precision_at_5",
        "ndcg_at_5", "psprecision_at_5", or "mean" of P@1, P@5, nDCG@5 and PSP@5.
    early_stopping : bool, default=False
        Whether to stop when `validation_metric` of the prototypes no longer improves, and to
        keep the best epoch's weights.
    n_iter_no_change : int, default=3
        Epochs without improvement before early stopping.
    threshold : "auto" or float, default="auto"
        Probability above which :meth:`predict` gives a label; "auto" is chosen for best
        micro-averaged F1 on held-out documents.
    index : {"auto", "exact", "hnsw", "ivf"}, default="auto"
        Search over prototypes and documents; "auto" is exact up to the size where approximate
        search is faster (500,000 vectors of width 384), above it "hnsw" with vectors stored in
        int8, built by all threads; "hnsw" itself stores float32 and builds with one thread.
    device : str, default="auto"
        "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products; "auto" is bfloat16 where the device multiplies it fast.
    backend : {"torch", "openvino"}, default="torch"
        What runs the text encoder in prediction. "openvino", on a CPU, multiplies by weights in
        integers of 8 bits, for BERT, RoBERTa and XLM-R: embeddings are off by a cosine of 0.001,
        and without AMX take half to two thirds of the time. A fitted or loaded model takes it by
        ``set_params``. Needs the extra ``openvino``.
    memory : str or joblib.Memory, default=None
        Where picture vectors and embeddings of the untuned encoder are kept, and with a
        `random_state` tuning itself, written once a minute: a fit that was cut off goes on there,
        and one that tunes the same is not repeated.
    trust_remote_code : bool, default=False
        Whether code that comes with a model of the hub may run.
    random_state : int, RandomState instance or None, default=None
        Pass an int for fits that are equal to the bit on one machine. Not so where
        ``index="auto"`` builds a graph with several threads, which depends on their timing.
    verbose : int, default=0
        1 shows a progress bar an epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Names of the labels; the column numbers of Y if it has no names.
    history_ : list of dict
        One entry an epoch of tuning: loss, learning rate, seconds, documents per second, and
        validation figures.
    tower_ : TextTower or None
        The text encoder.
    image_encoder_ : ImageEncoder or None
        The picture encoder; None if the model was fitted without pictures to encode.
    ensemble_ : EvidenceEnsemble
        The three kinds of evidence and their mixture.
    threshold_ : float
        Probability above which a label is predicted.
    n_features_in_ : int
        Number of features, with ``encoder="precomputed"``.

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

    _encoder_kind = "text"
    _n_batches = 8

    def __init__(
        self,
        encoder: str = "sentence-transformers/all-MiniLM-L6-v2",
        image_encoder="efficientnet-lite0",
        *,
        label_text=None,
        label_images=None,
        train_encoder: str = "full",
        text_features: str = "both",
        refine_labels: bool = True,
        retrieval_augmentation="auto",
        prototypes: bool | str = True,
        head_loss: str = "decoupled_softmax",
        head_weight: float = 0.3,
        n_neighbors: int = 50,
        text_column: str = "text",
        image_column: str = "image",
        max_images: int = 3,
        max_length: int | None = None,
        epochs: int = 12,
        max_steps: int | None = None,
        batch_size: int | str = "auto",
        learning_rate: float = 8e-4,
        head_learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        n_negatives: int = 10,
        margin: tuple[float, float] = (0.1, 0.3),
        regularization: float = 0.1,
        hard_negatives: bool = True,
        propensity: tuple[float, float] = (0.55, 1.5),
        lora_rank: int = 64,
        max_graph_memory: float = 1.5e9,
        validation_fraction="auto",
        validation_metric: str = "mean",
        early_stopping: bool = False,
        n_iter_no_change: int = 3,
        threshold="auto",
        index: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
        memory=None,
        trust_remote_code: bool = False,
        random_state=None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.image_encoder = image_encoder
        self.label_text = label_text
        self.label_images = label_images
        self.train_encoder = train_encoder
        self.text_features = text_features
        self.refine_labels = refine_labels
        self.retrieval_augmentation = retrieval_augmentation
        self.prototypes = prototypes
        self.head_loss = head_loss
        self.head_weight = head_weight
        self.n_neighbors = n_neighbors
        self.text_column = text_column
        self.image_column = image_column
        self.max_images = max_images
        self.max_length = max_length
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.n_negatives = n_negatives
        self.margin = margin
        self.regularization = regularization
        self.hard_negatives = hard_negatives
        self.propensity = propensity
        self.lora_rank = lora_rank
        self.max_graph_memory = max_graph_memory
        self.validation_fraction = validation_fraction
        self.validation_metric = validation_metric
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.threshold = threshold
        self.index = index
        self.device = device
        self.precision = precision
        self.backend = backend
        self.memory = memory
        self.trust_remote_code = trust_remote_code
        self.random_state = random_state
        self.verbose = verbose

    def _load_tower(self, source):
        from ._towers._text import load_text_tower

        return load_text_tower(
            str(source.path),
            max_length=self.max_length,
            trust_remote_code=self.trust_remote_code,
            max_images=self.max_images,
        )

    def _adapt_tower(self, tower, rng: np.random.RandomState) -> None:
        if self.train_encoder == "lora":
            from ._backbones._lora import add_adapters

            add_adapters(tower.backbone.model, rank=self.lora_rank, seed=int(rng.randint(2**31)))

    def _finish_tower(self, tower) -> None:
        if self.train_encoder == "lora":
            from ._backbones._lora import merge_adapters

            merge_adapters(tower.backbone.model)
