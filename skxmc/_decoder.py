"""DecoderXMCClassifier: a decoder-only language model as the Siamese tower."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._base import BaseXMCClassifier
from ._parameters import shared_constraints


class DecoderXMCClassifier(BaseXMCClassifier):
    """Extreme multi-label classifier of texts with pictures, over a language model.

    A decoder-only language model without its head embeds documents and labels alike (dual-decoder
    learning): a prompt stands around the text and the pictures, of which each is one token, and
    the hidden states are pooled. Low-rank adapters are trained; the base stays as it is. All
    else is as in :class:`ViXMLClassifier`: hard-negative batches, prototypes, label vectors,
    neighbours, their mixture. See the :ref:`user guide <decoder>`.

    Parameters
    ----------
    encoder : str, default="HuggingFaceTB/SmolLM2-135M-Instruct"
        Language model: a folder (of transformers, or with one GGUF file), a model that an
        installed package carries, or a name on the hub. ``"precomputed"`` takes X as ready
        embeddings, a float array of shape (n_samples, n_features).
    image_encoder : str or callable, default="efficientnet-lite0"
        Frozen model that turns a picture into one vector, as in :class:`ViXMLClassifier`.
    label_text : sequence of str of length n_labels, default=None
        The labels' texts, in the order of Y's columns. None takes the label names if Y is
        given as lists of names.
    label_images : sequence of length n_labels, default=None
        The labels' pictures, in the same forms as `images` in :meth:`fit`.
    train_encoder : {"lora", "full", "frozen"}, default="lora"
        Whether low-rank adapters are trained, all weights, or none.
    text_prompt, image_prompt : str, default="This product text" and "and its image"
        What stands before the text, and before the pictures.
    end_token : str or None, default="eos"
        What ends a sequence: "eos" is the tokenizer's own end token.
    prompt_order : {"text-image", "image-text"}, default="text-image"
        What comes first.
    pooling : {"mean", "last", "eos", "attention"}, default="mean"
        How hidden states become one embedding: their mean, the last one, that of the end token,
        or a mean weighted by a learned query.
    standardize : bool, default=True
        Whether embeddings are brought to mean 0 and spread 1 in each direction, as the
        untuned model has them over the training texts, before they get unit length.
    quantization : {"nf4"} or None, default=None
        Base weights in 4 bits (bitsandbytes, double quantisation); needs a CUDA device.
    lora_rank : int, default=16
        Rank of the adapters; published settings for models of billions of weights: 256.
    lora_alpha : float or None, default=None
        Scale of the adapters (rank-stabilised); None takes the rank.
    lora_dropout : float, default=0.0
        Dropout in front of the adapters.
    lora_targets : "auto" or list of str, default="auto"
        Names of the layers that get adapters; "auto" takes the projections of attention and
        feed-forward layers of the architecture.
    attn_implementation : str or None, default=None
        One of transformers' attentions, for which texts go through by equal lengths. None packs
        texts without padding where that is exact, else takes the model's default.
    gradient_checkpointing : bool, default=False
        Whether activations are computed again in the backward pass, for memory.
    fused_kernels : bool, default=False
        Whether to use the kernels of liger-kernel, which must be installed.
    text_features : {"embedding", "tfidf", "both"}, default="both"
        What the label vectors see of a text; as in :class:`ViXMLClassifier`.
    refine_labels : bool, default=True
        Whether label vectors are learned.
    retrieval_augmentation : "auto" or float in [0, 1], default="auto"
        Share of the neighbours' labels in the mixture of evidence, as in
        :class:`ViXMLClassifier`.
    prototypes : bool or "linear", default=True
        True trains prototypes (PRIME), and with `head_weight` a linear head beside them; with
        False labels are represented by their text alone. "linear" trains the model below a
        linear head over the labels and nothing else; its vectors start from the labels' documents
        and texts, if they have any. Where the untuned model can hardly tell texts apart, as with
        small language models, the margin loss alone draws all embeddings together; the head's
        softmax does not.
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
        Longest text in tokens, prompts not counted; None takes the model's own limit, at most
        256.
    epochs : int, default=8
        Passes over the documents when the tower is tuned.
    max_steps : int or None, default=None
        Most optimisation steps of the encoder's tuning, and likewise of the label vectors'
        training; warm-up and decay span so many. None sets no bound but `epochs`.
    batch_size : "auto" or int, default="auto"
        Documents of a batch, cut into chunks that fit `max_graph_memory`. "auto" takes the power
        of two, from 32 to 512, that is nearest to 32 batches an epoch.
    learning_rate : float, default=3e-4
        Peak learning rate of adapters, or of all weights; 5e-5 is usual for models of billions of
        weights.
    head_learning_rate : float, default=5e-3
        Peak learning rate of prototypes, image projection and pooling query.
    weight_decay : float, default=0.01
        Of AdamW.
    warmup_steps : int, default=100
        Steps of linear warm-up, at most a fifth of all.
    max_grad_norm : float or None, default=1.0
        Norm that gradients are clipped to.
    n_negatives : int, default=10
        Hardest negatives of each document in the loss.
    margin : tuple of float, default=(0.1, 0.3)
        Bounds of the dynamic margin, in units of cosine.
    regularization : float, default=0.1
        Weight of the regulariser that keeps prototypes as good as label texts.
    hard_negatives : bool, default=True
        Whether batches are made of clusters of similar documents after the first epochs.
    propensity : tuple of float, default=(0.55, 1.5)
        Constants (A, B) of the label propensities.
    max_graph_memory : float, default=2e9
        Bytes for the graphs of a batch, as in :class:`ViXMLClassifier`.
    validation_fraction : "auto" or float in (0, 1), default="auto"
        Share of the documents held out to choose mixture and threshold, and for early
        stopping; "auto" is 0.05, or 0.1 where the encoder is not tuned.
    validation_metric : str, default="mean"
        What the mixture and early stopping maximise, as in :class:`ViXMLClassifier`.
    early_stopping : bool, default=False
        Whether to stop when `validation_metric` of the prototypes no longer improves, and to
        keep the best epoch's weights.
    n_iter_no_change : int, default=3
        Epochs without improvement before early stopping.
    threshold : "auto" or float, default="auto"
        Probability above which :meth:`predict` gives a label.
    index : {"auto", "exact", "hnsw", "ivf"}, default="auto"
        Search over prototypes and documents, as in :class:`ViXMLClassifier`.
    device : str, default="auto"
        "auto" takes an accelerator if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of matrix products, and of frozen base weights; "auto" is bfloat16 where the device
        multiplies it fast.
    memory : str or joblib.Memory, default=None
        Where picture vectors and embeddings of the untuned model are kept, and with a
        `random_state` tuning itself, written once a minute: a fit that was cut off goes on there,
        and one that tunes the same is not repeated.
    trust_remote_code : bool, default=False
        Whether code that comes with a model of the hub may run.
    random_state : int, RandomState instance or None, default=None
        Pass an int for fits that are equal to the bit on one machine, as far as `index` allows.
    verbose : int, default=0
        1 shows a progress bar an epoch.

    Attributes
    ----------
    classes_, history_, tower_, image_encoder_, ensemble_, threshold_, n_features_in_
        As in :class:`ViXMLClassifier`; `tower_` is a DecoderTower.

    References
    ----------
    "Large Language Models Meet Extreme Multi-label Classification: Scaling and Multi-modal
    Framework", AAAI 2026 (arXiv 2511.13189), Section 3 (dual-decoder learning); Hu et al.,
    "LoRA", ICLR 2022; Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with
    LoRA", 2023.
    """

    _parameter_constraints: dict = {
        **shared_constraints,
        "text_prompt": [str],
        "image_prompt": [str],
        "end_token": [str, None],
        "prompt_order": [StrOptions({"text-image", "image-text"})],
        "pooling": [StrOptions({"mean", "last", "eos", "attention"})],
        "standardize": ["boolean"],
        "quantization": [StrOptions({"nf4"}), None],
        "lora_alpha": [Interval(Real, 0, None, closed="neither"), None],
        "lora_dropout": [Interval(Real, 0, 1, closed="left")],
        "lora_targets": [StrOptions({"auto"}), list, tuple],
        "attn_implementation": [str, None],
        "gradient_checkpointing": ["boolean"],
        "fused_kernels": ["boolean"],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
    }

    _encoder_kind = "decoder"
    _n_batches = 32  # adapters move less in a step than all weights do

    def __init__(
        self,
        encoder: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
        image_encoder="efficientnet-lite0",
        *,
        label_text=None,
        label_images=None,
        train_encoder: str = "lora",
        text_prompt: str = "This product text",
        image_prompt: str = "and its image",
        end_token: str | None = "eos",
        prompt_order: str = "text-image",
        pooling: str = "mean",
        standardize: bool = True,
        quantization: str | None = None,
        lora_rank: int = 16,
        lora_alpha: float | None = None,
        lora_dropout: float = 0.0,
        lora_targets="auto",
        attn_implementation: str | None = None,
        gradient_checkpointing: bool = False,
        fused_kernels: bool = False,
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
        epochs: int = 8,
        max_steps: int | None = None,
        batch_size: int | str = "auto",
        learning_rate: float = 3e-4,
        head_learning_rate: float = 5e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        max_grad_norm: float | None = 1.0,
        n_negatives: int = 10,
        margin: tuple[float, float] = (0.1, 0.3),
        regularization: float = 0.1,
        hard_negatives: bool = True,
        propensity: tuple[float, float] = (0.55, 1.5),
        max_graph_memory: float = 2e9,
        validation_fraction="auto",
        validation_metric: str = "mean",
        early_stopping: bool = False,
        n_iter_no_change: int = 3,
        threshold="auto",
        index: str = "auto",
        device: str = "auto",
        precision: str = "auto",
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
        self.text_prompt = text_prompt
        self.image_prompt = image_prompt
        self.end_token = end_token
        self.prompt_order = prompt_order
        self.pooling = pooling
        self.standardize = standardize
        self.quantization = quantization
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.lora_targets = lora_targets
        self.attn_implementation = attn_implementation
        self.gradient_checkpointing = gradient_checkpointing
        self.fused_kernels = fused_kernels
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
        self.max_grad_norm = max_grad_norm
        self.n_negatives = n_negatives
        self.margin = margin
        self.regularization = regularization
        self.hard_negatives = hard_negatives
        self.propensity = propensity
        self.max_graph_memory = max_graph_memory
        self.validation_fraction = validation_fraction
        self.validation_metric = validation_metric
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.threshold = threshold
        self.index = index
        self.device = device
        self.precision = precision
        self.memory = memory
        self.trust_remote_code = trust_remote_code
        self.random_state = random_state
        self.verbose = verbose

    def _load_tower(self, source):
        import torch

        from ._device import precision_name, resolve_device
        from ._towers._decoder import load_decoder_tower
        from ._towers._prompts import Prompts

        # A frozen base is only ever multiplied with: it stays as short as the products are.
        dtype = "float32"
        if self.train_encoder != "full":
            dtype = precision_name(self.precision, resolve_device(self.device))
        return load_decoder_tower(
            source,
            prompts=Prompts(
                text=self.text_prompt,
                image=self.image_prompt,
                end=self.end_token,
                order=self.prompt_order,
            ),
            pooling=self.pooling,
            max_length=self.max_length,
            max_images=self.max_images,
            weights_dtype=getattr(torch, dtype),
            quantization=self.quantization,
            attn_implementation=self.attn_implementation,
            gradient_checkpointing=self.gradient_checkpointing,
            fused_kernels=self.fused_kernels,
            trust_remote_code=self.trust_remote_code,
        )

    def _calibrate_tower(self, X: list[str]) -> None:
        if self.standardize:
            import torch

            self.tower_.calibrate(X, getattr(torch, self.featurizer_.precision))

    def _adapt_tower(self, tower, rng: np.random.RandomState) -> None:
        if self.train_encoder == "lora":
            from ._backbones._lora import add_adapters

            add_adapters(
                tower.backbone.model,
                rank=self.lora_rank,
                alpha=self.lora_alpha,
                dropout=self.lora_dropout,
                targets=self.lora_targets,
                seed=int(rng.randint(2**31)),
            )
        elif self.train_encoder == "full":
            tower.backbone.requires_grad_(True)

    def _finish_tower(self, tower) -> None:
        """Adapters stay: they are what is saved."""

    def _training_options(self, n_documents: int):
        return replace(
            super()._training_options(n_documents),
            max_grad_norm=self.max_grad_norm,
            free_vectors_from_labels=True,
        )

    def merge_adapter(self):
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
