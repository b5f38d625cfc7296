"""Image encoder: one vector for each picture, from a frozen model."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from joblib.func_inspect import get_func_code
from sklearn.utils.validation import check_memory
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from .. import _limits
from .._images import ImageFeatures, ImageItems, collect_images
from .._optional import import_optional
from ._efficientnet import EfficientNetBackbone
from ._sources import ModelSource, find_model

if TYPE_CHECKING:
    from PIL.Image import Image

_EFFICIENTNET = re.compile(r"(efficientnet-lite0)(?:@(\d+))?")
_OPEN_CLIP = "open_clip:"

# On a CPU each thread works on so few pictures at a time: their activations stay in its cache,
# which makes EfficientNet twice as fast as one batch of 64 shared by all threads.
_CPU_BATCH = 8

# Raise it when the vectors of a model change, so that cached ones are not used any more.
_VERSION = 1


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
        verbose: int = 0,
    ) -> None:
        if not callable(model) and not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"image_encoder is of type {type(model).__name__}; pass a model's name, a folder "
                "or a callable from a list of PIL images to an array."
            )
        self.model = model
        self.device = torch.device(device)
        self.precision = precision
        self.batch_size = batch_size
        self.memory = memory
        self.trust_remote_code = trust_remote_code
        self.verbose = verbose
        self._dimension: int | None = None
        self._backbone: Any = None
        self._source: ModelSource | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights come from their source again; a callable is kept, in `model`.
        return {**self.__dict__, "_backbone": None, "_source": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            self.device = torch.device("cpu")

    def encode(self, images: ImageItems | ImageFeatures | None) -> ImageFeatures | None:
        """Encode each distinct picture once.

        Parameters
        ----------
        images : ImageItems, ImageFeatures or None
            ImageFeatures (ready embeddings) and None are returned as they are.

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
        if images.n_distinct == 0:
            vectors = np.zeros((0, self.dimension), dtype=np.float32)
        elif self.memory is None:
            vectors = self._encode_distinct(images, range(images.n_distinct))
        else:
            vectors = self._encode_cached(images)
        self._dimension = vectors.shape[1]
        return ImageFeatures(vectors, images.index)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._dimension is None:
            white = np.full((32, 32, 3), 255, dtype=np.uint8)
            probe = collect_images([white], 1, argument="probe")
            self._dimension = self._encode_distinct(probe, range(1)).shape[1]
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Key of the model and of all settings that change its vectors."""
        if callable(self.model):
            return f"{_VERSION}:{_callable_fingerprint(self.model)}"
        name = os.fspath(self.model)
        if name.startswith(_OPEN_CLIP):
            weights = Path(name.partition("/")[2])
            content = ModelSource("", weights, "folder").digest() if weights.is_file() else ""
        else:
            content = self._find_source().digest()
        return f"{_VERSION}:{name}:{content}:{self.precision}"

    def _find_source(self) -> ModelSource:
        if self._source is None:
            name = os.fspath(self.model)
            efficientnet = _EFFICIENTNET.fullmatch(name)
            self._source = find_model(
                efficientnet[1] if efficientnet else name,
                kind="image",
                trust_remote_code=self.trust_remote_code,
            )
        return self._source

    def _load_backbone(self) -> Any:
        if self._backbone is None:
            if callable(self.model):
                self._backbone = _Callable(self.model)
            elif os.fspath(self.model).startswith(_OPEN_CLIP):
                specification = os.fspath(self.model).removeprefix(_OPEN_CLIP)
                self._backbone = _OpenClip(specification, self.device, self.precision)
            else:
                source = self._find_source()
                if source.path.is_file():
                    size = int(_EFFICIENTNET.fullmatch(os.fspath(self.model))[2] or 128)
                    self._backbone = EfficientNetBackbone(
                        source.path, size, self.device, self.precision
                    )
                else:
                    self._backbone = _Transformers(
                        source.path, self.device, self.precision, self.trust_remote_code
                    )
        return self._backbone

    def _encode_cached(self, images: ImageItems) -> np.ndarray:
        """Vectors of all distinct pictures, stored after every few thousand of them."""
        path_like = isinstance(self.memory, os.PathLike)
        memory = check_memory(os.fspath(self.memory) if path_like else self.memory)
        cached = memory.cache(_encode_block, ignore=["encoder", "images", "positions"])
        blocks = []
        for start in range(0, images.n_distinct, _limits.PICTURES):
            positions = range(start, min(start + _limits.PICTURES, images.n_distinct))
            names = "".join(images.hashes[start : positions.stop])
            content = hashlib.sha256(names.encode()).hexdigest()
            blocks.append(np.asarray(cached(self.fingerprint, content, self, images, positions)))
        return np.concatenate(blocks)

    def _encode_distinct(self, images: ImageItems, positions: range) -> np.ndarray:
        """Vectors of some distinct pictures, float32 of shape (len(positions), dimension)."""
        backbone = self._load_backbone()
        in_threads = backbone.thread_safe and self.device.type == "cpu"
        size = min(self.batch_size, _CPU_BATCH) if in_threads else self.batch_size
        parts = [positions[start : start + size] for start in range(0, len(positions), size)]

        def prepare(part: range) -> Any:
            return backbone.prepare([images.decode(position) for position in part])

        def forward(prepared: Any) -> Any:
            with torch.inference_mode():
                return backbone.forward(prepared)

        job = (lambda part: forward(prepare(part))) if in_threads else prepare
        n_threads = torch.get_num_threads()
        if not in_threads:
            n_threads = min(n_threads, 8)  # each has two batches of pixels waiting
        blocks = []
        with (
            closing(_ordered_map(job, parts, n_threads)) as results,
            tqdm(
                total=images.n_distinct,
                initial=positions.start,
                desc="pictures",
                disable=not self.verbose,
            ) as bar,
        ):
            for part, result in zip(parts, results, strict=True):
                output = result if in_threads else forward(result)
                blocks.append(_check_vectors(output, [images.names[i] for i in part]))
                if blocks[-1].shape[1] != blocks[0].shape[1]:
                    raise ValueError(
                        f"image_encoder returned vectors of length {blocks[0].shape[1]} and of "
                        f"length {blocks[-1].shape[1]}; all pictures need the same."
                    )
                bar.update(len(part))
        return np.concatenate(blocks)


def _encode_block(
    fingerprint: str, content: str, encoder: ImageEncoder, images: ImageItems, positions: range
) -> np.ndarray:
    """What joblib caches; the first two arguments are the key."""
    return encoder._encode_distinct(images, positions)


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


def _ordered_map(
    job: Callable[[range], Any], parts: Iterable[range], n_threads: int
) -> Iterator[Any]:
    """``map(job, parts)`` in threads, at most a few results ahead of their use."""
    with ThreadPoolExecutor(n_threads, initializer=_use_one_thread) as pool:
        waiting: deque = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(job, part))
                if len(waiting) > 2 * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an error or an interrupt
                future.cancel()


def _use_one_thread() -> None:
    """Let torch compute in this very thread: the pool has one for each core already."""
    torch.get_num_threads()  # torch sets up a new thread at first use, which would undo the limit
    threadpool_limits(1, user_api="openmp")


def _callable_fingerprint(function: Any) -> str:
    """Key of a callable: its own ``fingerprint``, or its code and its state."""
    given = getattr(function, "fingerprint", None)
    if isinstance(given, str):
        return given
    if isinstance(function, partial):
        inner, state = function.func, [function.args, function.keywords]
        return joblib.hash([_callable_fingerprint(inner), state])
    if inspect.isfunction(function):
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        code, state = get_func_code(function)[0], [function.__defaults__, cells]
    elif inspect.ismethod(function):
        code, state = get_func_code(function.__func__)[0], function.__self__
    else:
        code, state = get_func_code(type(function).__call__)[0], function
    try:
        return joblib.hash([code, state])
    except Exception as error:  # whatever pickle raises for an object that it cannot take
        raise ValueError(
            "memory is given, but the callable image_encoder cannot be hashed for the cache "
            f"({error}); give it an attribute `fingerprint` of type str that names its state."
        ) from error


# A backbone has two steps: `prepare` makes the model's input from RGB images, `forward` vectors
# from that. If it is `thread_safe`, several threads may be in `forward` at a time.


class _Callable:
    thread_safe = False

    def __init__(self, function: Callable[[list[Image]], Any]) -> None:
        self.function = function

    def prepare(self, images: list[Image]) -> list[Image]:
        return images

    def forward(self, prepared: list[Image]) -> Any:
        return self.function(prepared)


class _Transformers:
    """A vision model of transformers; of a model of text and pictures the vision tower alone."""

    thread_safe = True

    def __init__(
        self, folder: Path, device: torch.device, precision: torch.dtype, trust_remote_code: bool
    ) -> None:
        import transformers

        trust = {"trust_remote_code": trust_remote_code}
        options: dict[str, Any] = {"dtype": precision, "output_loading_info": True, **trust}
        with _quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(folder, **trust)
            # The PIL backend needs no torchvision, and gives the same pixels with and without it.
            self.processor = transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", **trust
            )
            architecture = (config.architectures or [""])[0]
            loader = transformers.AutoModel
            if config.model_type == "clip":
                loader = transformers.CLIPVisionModelWithProjection
                options["config"] = config.vision_config
                options["config"].projection_dim = config.projection_dim
            elif config.model_type == "siglip":
                loader = transformers.SiglipVisionModel
            elif config.model_type == "siglip2":
                loader = transformers.Siglip2VisionModel
            elif architecture.endswith("VisionModelWithProjection"):
                loader = getattr(transformers, architecture)
            model, info = loader.from_pretrained(folder, **options)
        missing = {key for key in info["missing_keys"] if "mask_token" not in key}
        # A classifier's checkpoint has no pooler; transformers fills it with random numbers.
        self.has_pooler = not any("pooler" in key for key in missing)
        missing = sorted(key for key in missing if "pooler" not in key)
        if missing:
            raise ValueError(
                f"the weights in {folder} lack {len(missing)} tensors of the image model "
                f"{type(model).__name__} ({', '.join(missing[:3])} ...); pass a complete model."
            )
        self.device = device
        self.precision = precision
        self.model = model.eval().requires_grad_(False)
        self.model.to(device=device, memory_format=torch.channels_last)

    def prepare(self, images: list[Image]) -> dict[str, torch.Tensor]:
        return self.processor(
            [_limit_aspect(image) for image in images],
            return_tensors="pt",
            input_data_format="channels_last",  # it cannot be guessed for a height of 1 or 3
        )

    def forward(self, prepared: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {
            name: tensor.to(self.device, self.precision if tensor.is_floating_point() else None)
            for name, tensor in prepared.items()
        }
        run = getattr(self.model, "get_image_features", self.model)
        output = run(**inputs)
        if isinstance(output, torch.Tensor):
            return output
        vectors = output.get("image_embeds")
        if vectors is None and self.has_pooler:
            vectors = output.get("pooler_output")
        if vectors is None:
            vectors = output["last_hidden_state"][:, 0]  # the class token
        return vectors.flatten(start_dim=1)


class _OpenClip:
    """The vision tower of a model of OpenCLIP."""

    thread_safe = True

    def __init__(self, specification: str, device: torch.device, precision: torch.dtype) -> None:
        open_clip = import_optional("open_clip", "open_clip")
        if specification.startswith("hf-hub:"):
            source = find_model(specification.removeprefix("hf-hub:"), kind="open_clip")
            specification = f"local-dir:{source.path}"
        architecture, weights = specification, ""
        if not specification.startswith("local-dir:"):
            architecture, _, weights = specification.partition("/")
            _check_open_clip(open_clip, architecture, weights)
        with torch.random.fork_rng(devices=[]):  # random weights are the same in every process
            torch.manual_seed(0)
            model, _, self.transform = open_clip.create_model_and_transforms(
                architecture, pretrained=weights or None
            )
        self.device = device
        self.precision = precision
        self.visual = model.visual.eval().requires_grad_(False)
        self.visual.to(device=device, dtype=precision, memory_format=torch.channels_last)

    def prepare(self, images: list[Image]) -> torch.Tensor:
        return torch.stack([self.transform(_limit_aspect(image)) for image in images])

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        output = self.visual(prepared.to(self.device, self.precision))
        return output[0] if isinstance(output, tuple) else output  # CoCa returns tokens as well


def _check_open_clip(open_clip: Any, architecture: str, weights: str) -> None:
    """Raise at once what OpenCLIP finds out late, or only after a minute of trying the network."""
    known = open_clip.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        raise ValueError(
            f"OpenCLIP has no model {architecture!r}; names like it: {', '.join(close) or 'none'}."
        )
    if not weights:
        warnings.warn(
            f"open_clip:{architecture} names no weights, so they are random; pass "
            f"open_clip:{architecture}/WEIGHTS.",
            UserWarning,
            stacklevel=2,
        )
    elif not Path(weights).is_file():
        settings = open_clip.get_pretrained_cfg(architecture, weights)
        if not settings:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
            raise ValueError(
                f"OpenCLIP has no weights {weights!r} for {architecture}, nor is there such a "
                f"file; it has: {tags}."
            )
        if settings.get("hf_hub"):
            find_model(settings["hf_hub"].rstrip("/"), kind="open_clip")


def _limit_aspect(image: Image, limit: int = 32) -> Image:
    """Cut off the ends of a strip: a model that scales the short side would need gigabytes."""
    width, height = image.size
    most = limit * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No table of the text tower's weights, which are left out on purpose, and no bar."""
    from transformers.utils import logging

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
