"""Image encoder: one vector for each picture, from a frozen model."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from .._backbones._sources import ModelSource, find_model
from .._inputs._decoding import ImageError, pad_white
from .._inputs._images import ImageFeatures, ImageItems, collect_images, handle_problems
from .._runtime import limits
from .._runtime._memory import check_memory, recall, with_digest
from ._callable import CallableModel, callable_fingerprint
from ._efficientnet import EfficientNetModel
from ._open_clip import OpenClipModel
from ._picture_model import PictureModel
from ._sentence_transformers import SentenceTransformersModel
from ._threads import ordered_map
from ._transformers import TransformersModel

if TYPE_CHECKING:
    from PIL.Image import Image

_EFFICIENTNET = re.compile(r"(efficientnet-lite0)(?:@(\d+))?")
_OPEN_CLIP = "open_clip:"
_SENTENCE_TRANSFORMERS = "st:"

# On a CPU each thread works on so few pictures at a time: their activations stay in its cache,
# which makes EfficientNet twice as fast as one batch of 64 shared by all threads.
_CPU_BATCH = 8

# Transformers sets the precision of new layers for all threads while it reads a model.
_LOADING = threading.Lock()

# Raise it when the vectors of a model change, so that cached ones are not used any more.
_VERSION = 2

LAYERS = ("auto", "last", "all")
PADDINGS = (None, "white")


class ImageEncoder:
    """Map each distinct picture to one vector with a frozen model.

    Parameters
    ----------
    model : str, path-like or callable
        - A folder or a name on the hub in the format of transformers (SigLIP, SigLIP 2, CLIP,
          DINOv2, ViT and others). Of models of text and pictures only the vision tower is loaded;
          the vector is the projected or pooled one.
        - ``"efficientnet-lite0"``, which sees pictures at 128 x 128 pixels;
          ``"efficientnet-lite0@224"`` for another size.
        - ``"open_clip:ARCHITECTURE/WEIGHTS"``, such as
          ``"open_clip:ViT-B-32/laion2b_s34b_b79k"``; WEIGHTS may be a file.
          ``"open_clip:hf-hub:user/model"`` and ``"open_clip:local-dir:folder"`` work too.
        - ``"st:NAME"``, a folder or a name on the hub of a model of sentence-transformers that
          takes pictures; the vector is what its ``encode`` returns.
        - A callable from a list of PIL images of mode RGB to an array of shape
          (n_images, dimension). Its attribute ``fingerprint`` (str), if it has one, is its key in
          the cache; otherwise its code and state are.
    device : str or torch.device, default="cpu"
    precision : torch.dtype, default=torch.float32
        ``torch.float32`` or ``torch.bfloat16``; the vectors are float32 in any case.
    batch_size : int, default=64
        Pictures that go through the model at once. On a CPU at most 8 do, in each thread.
    memory : str, path-like, joblib.Memory or None, default=None
        Where to cache vectors. The key is the model and the contents of all the pictures.
    trust_remote_code : bool, default=False
        Whether Python code that comes with a model of the hub may run.
    layers : {"auto", "last", "all"}, default="auto"
        Which layers a vector is made of, see :class:`skxmc.encoders.ImageEncoder`.
    padding : "white" or None, default=None
        Whether pictures are made square by white margins before a model sees them.
    folders : bool, default=True
        Whether the name may be that of a folder or file; False is for names from strangers.
    verbose : int, default=0
        Show a progress bar if positive.
    """

    def __init__(
        self,
        model: str | os.PathLike | Callable[[list[Image]], Any],
        *,
        device: str | torch.device = "cpu",
        precision: torch.dtype = torch.float32,
        batch_size: int = 64,
        memory: str | os.PathLike | joblib.Memory | None = None,
        trust_remote_code: bool = False,
        layers: str = "auto",
        padding: str | None = None,
        folders: bool = True,
        verbose: int = 0,
    ) -> None:
        if not callable(model) and not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"image_encoder is of type {type(model).__name__}; pass a model's name, a folder "
                "or a callable from a list of PIL images to an array."
            )
        if layers not in LAYERS:
            raise ValueError(f"layers of image_encoder must be one of {LAYERS}, got {layers!r}.")
        if callable(model) and layers == "all":
            raise ValueError(
                "image_encoder is a callable, whose layers are not known; pass layers='auto', and "
                "let it return the layers side by side."
            )
        if padding not in PADDINGS:
            raise ValueError(
                f"padding of image_encoder must be one of {PADDINGS}, got {padding!r}."
            )
        self.model = model
        self.device = torch.device(device)
        self.precision = precision
        self.batch_size = batch_size
        self.memory = memory
        self.trust_remote_code = trust_remote_code
        self.layers = layers
        self.padding = padding
        self.folders = folders
        self.verbose = verbose
        self._dimension: int | None = None
        self._backbone: PictureModel | None = None
        self._source: ModelSource | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights come from their source again; a callable is kept, in `model`.
        return {**self.__dict__, "_backbone": None, "_source": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            self.device = torch.device("cpu")

    def encode(
        self, images: ImageItems | ImageFeatures | None, *, missing: str = "raise"
    ) -> ImageFeatures | None:
        """Encode each distinct picture once.

        Parameters
        ----------
        images : ImageItems, ImageFeatures or None
            ImageFeatures (ready embeddings) and None are returned as they are.
        missing : {"raise", "warn", "ignore"}, default="raise"
            What to do about pictures that cannot be decoded; the latter two leave them out.

        Returns
        -------
        features : ImageFeatures or None

        Raises
        ------
        ValueError
            If a picture cannot be decoded, or if a vector is not finite; the message names the
            argument and the row.
        """
        if images is None or isinstance(images, ImageFeatures):
            return images
        try:
            vectors, widths = self._encode_items(images)
        except ImageError:
            # Only now is every picture decoded once more, to find all that are damaged.
            images = self._without_damaged(images, missing)
            vectors, widths = self._encode_items(images)
        self._dimension = vectors.shape[1]
        return ImageFeatures(vectors, images.index, widths)

    def _encode_items(self, images: ImageItems) -> tuple[np.ndarray, tuple[int, ...]]:
        if images.n_distinct == 0:
            return np.zeros((0, self.dimension), dtype=np.float32), ()
        if self.memory is None:
            return self._encode_distinct(images, range(images.n_distinct))
        return self._encode_cached(images)

    def _without_damaged(self, images: ImageItems, missing: str) -> ImageItems:
        """The items without the pictures that cannot be decoded, unless these are an error."""

        def problem_of(position: int) -> ImageError | None:
            try:
                images.decode(position)
            except ImageError as problem:
                return problem
            return None

        positions = range(images.n_distinct)
        with closing(ordered_map(problem_of, positions, torch.get_num_threads())) as results:
            problems = {p: found for p, found in zip(positions, results, strict=True) if found}
        handle_problems(list(problems.values()), missing)
        return images.without(list(problems))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._dimension is None:
            white = np.full((32, 32, 3), 255, dtype=np.uint8)
            probe = collect_images([white], 1, argument="probe")
            self._dimension = self._encode_distinct(probe, range(1))[0].shape[1]
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Key of the model and of all settings that change its vectors."""
        if callable(self.model):
            return f"{_VERSION}:{callable_fingerprint(self.model)}:{self.padding}"
        name = os.fspath(self.model)
        if name.startswith(_OPEN_CLIP):
            weights = Path(name.partition("/")[2])
            is_file = self.folders and weights.is_file()
            content = ModelSource("", weights, "folder").digest() if is_file else ""
        else:
            content = self._find_source().digest()
        return f"{_VERSION}:{name}:{content}:{self.precision}:{self.layers}:{self.padding}"

    def _find_source(self) -> ModelSource:
        if self._source is None:
            name = os.fspath(self.model)
            efficientnet = _EFFICIENTNET.fullmatch(name)
            self._source = find_model(
                efficientnet[1] if efficientnet else name.removeprefix(_SENTENCE_TRANSFORMERS),
                kind="image",
                trust_remote_code=self.trust_remote_code,
                folders=self.folders,
            )
        return self._source

    def _load_backbone(self) -> PictureModel:
        with _LOADING:
            if self._backbone is None:
                self._backbone = self._read_backbone()
            return self._backbone

    def _read_backbone(self) -> PictureModel:
        if callable(self.model):
            return CallableModel(self.model)
        name = os.fspath(self.model)
        how = (self.device, self.precision)
        if name.startswith(_OPEN_CLIP):
            return OpenClipModel(name.removeprefix(_OPEN_CLIP), *how, self.layers, self.folders)
        source = self._find_source()
        if name.startswith(_SENTENCE_TRANSFORMERS):
            return SentenceTransformersModel(source.path, *how, self.trust_remote_code, self.layers)
        if source.path.is_file():
            size = int(_EFFICIENTNET.fullmatch(name)[2] or 128)
            return EfficientNetModel(source.path, size, *how, self.layers)
        return TransformersModel(source.path, *how, self.trust_remote_code, self.layers)

    def _encode_cached(self, images: ImageItems) -> tuple[np.ndarray, tuple[int, ...]]:
        """Vectors of all distinct pictures, stored after every few thousand of them."""
        memory = check_memory(self.memory)
        cached = memory.cache(_encode_block, ignore=["encoder", "images", "positions"])
        blocks = []
        for start in range(0, images.n_distinct, limits.PICTURES):
            positions = range(start, min(start + limits.PICTURES, images.n_distinct))
            names = "".join(images.hashes[start : positions.stop])
            content = hashlib.sha256(names.encode()).hexdigest()
            vectors, widths = recall(cached, self.fingerprint, content, self, images, positions)
            blocks.append(np.asarray(vectors))
        return np.concatenate(blocks), widths

    def _encode_distinct(
        self, images: ImageItems, positions: range
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """Vectors of some distinct pictures, and the widths of their blocks.

        The vectors are float32 of shape (len(positions), dimension).
        """
        backbone = self._load_backbone()
        in_threads = backbone.thread_safe and self.device.type == "cpu"
        size = min(self.batch_size, _CPU_BATCH) if in_threads else self.batch_size
        parts = [positions[start : start + size] for start in range(0, len(positions), size)]

        def prepare(part: range) -> Any:
            decoded = [images.decode(position) for position in part]
            if self.padding == "white":
                decoded = [pad_white(image) for image in decoded]
            return backbone.prepare(decoded)

        def forward(prepared: Any) -> Any:
            with torch.inference_mode():
                return backbone.forward(prepared)

        job = (lambda part: forward(prepare(part))) if in_threads else prepare
        n_threads = torch.get_num_threads()
        if not in_threads:
            n_threads = min(n_threads, 8)  # each has two batches of pixels waiting
        parts_done = []
        with (
            closing(ordered_map(job, parts, n_threads)) as results,
            tqdm(
                total=images.n_distinct,
                initial=positions.start,
                desc="pictures",
                disable=not self.verbose,
            ) as bar,
        ):
            for part, result in zip(parts, results, strict=True):
                output = result if in_threads else forward(result)
                names = [images.names[i] for i in part]
                blocks = [_check_vectors(block, names) for block in output]
                widths = tuple(block.shape[1] for block in blocks)
                parts_done.append(np.concatenate(blocks, axis=1))
                if parts_done[-1].shape[1] != parts_done[0].shape[1]:
                    raise ValueError(
                        f"image_encoder returned vectors of length {parts_done[0].shape[1]} and "
                        f"of length {parts_done[-1].shape[1]}; all pictures need the same."
                    )
                bar.update(len(part))
        return np.concatenate(parts_done), widths


def _encode_block(
    fingerprint: str, content: str, encoder: ImageEncoder, images: ImageItems, positions: range
) -> tuple[tuple[np.ndarray, tuple[int, ...]], str]:
    """What joblib caches; the first two arguments are the key."""
    return with_digest(encoder._encode_distinct(images, positions))


def _check_vectors(output: Any, names: Sequence[str]) -> np.ndarray:
    """What a model returned, as float32 of shape (len(names), dimension)."""
    if isinstance(output, torch.Tensor):
        output = output.detach().float().cpu().numpy()
    vectors = np.asarray(output, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names) or vectors.shape[1] == 0:
        raise ValueError(
            f"image_encoder returned an array of shape {vectors.shape} for {len(names)} pictures; "
            f"it must return one of shape ({len(names)}, dimension)."
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(
            f"image_encoder returned NaN or infinity for {names[bad[0]]}; try precision float32, "
            "or pass None for this picture."
        )
    return vectors
