"""Saving, loading and pickling of estimators."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from .._features._whitening import ImageWhitener
from .._folders._content import readings, write_content
from .._folders._replacing import replacing
from .._inputs._label_set import plain_labels, plain_mapping
from .._inputs._packed_names import PackedLists, PackedNames
from .._inputs._texts import sequence_to_list
from .._ranking._ranker import Ranker
from ..encoders import ImageEncoder, Precomputed
from ..evidence import Evidence
from ._featurizer import Featurizer
from ._parameters import resolve_image_encoder
from ._plugins_io import describe, rebuild

TOWER = "tower"

# Parameters that may be mappings of ids, or tables.
_OF_LABELS = {"label_text": plain_labels, "label_images": plain_mapping}

# What a folder may never set, whatever it says, and why.
NEVER_FROM_A_FOLDER = {
    "memory": "a cache belongs to a machine, and holds pickles; set it after loading",
    "trust_remote_code": "whether code may run is up to who loads; pass it to load",
    "device": "a device belongs to a machine; pass it to load",
}


class PersistenceMixin:
    """Folders and pickles of a fitted estimator.

    It is for estimators that have, once fitted, a :class:`Featurizer` as `featurizer_`, a
    :class:`Ranker` as `ranker_`, and else only numbers, strings, arrays, and lists and dicts of
    these.
    """

    # -- folders ------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike, *, include_base: bool = False) -> None:
        """Write the fitted model to a folder, without any pickle.

        The folder holds ``skxmc.json`` (parameters and all that is small),
        ``arrays.safetensors``, the text encoder and its tokenizer in the format of transformers
        (``tower/``), and the search indexes. ``skxmc.json`` lists them with their sha256. It is
        written beside its place and then takes it, so there is never half a model. One that is
        there already is replaced; other files in the folder stay as they are.

        Not in it: the weights of the image encoder, of which only the name is kept (one that is a
        folder has to be passed to :meth:`load`), and parameters that are Python objects: a callable
        `image_encoder`, pictures in `label_images`, `memory` and a `random_state` that is no int.

        Parameters
        ----------
        folder : path-like
            Where to write; its parents are made if they don't exist.
        include_base : bool, default=False
            Whether the folder holds the weights under the adapters of a language model, and not
            their name and hash alone. All other encoders are always written.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        FileExistsError
            If `folder` is a file, is not empty and holds no model of skxmc, or has a file of
            another origin where one of the model is to be.
        PermissionError
            If `folder` may not be written to.
        """
        check_is_fitted(self)
        parameters, notes = _storable_parameters(self)
        for name in _OF_LABELS:
            if name in notes:
                _warn_of_loss(notes, name)
        if "encoder" in notes:
            _warn_of_loss(notes, "encoder")
        if "image_encoder" in notes and self.featurizer_.image_encoder is not None:
            _warn_of_loss(notes, "image_encoder")
        with replacing(folder) as temporary:
            content = {
                "class": type(self).__name__,
                "versions": _versions(),
                "parameters": parameters,
                "not_saved": notes,
                "fitted": _fitted_attributes(self),
                "featurizer": _save_featurizer(self.featurizer_, temporary, include_base),
                "evidence": [_described(kind) for kind in self.ranker_.kinds],
                "ranker": self.ranker_.state_dict(),
            }
            write_content(temporary, content)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        device: str = "auto",
        image_encoder: str | Callable | ImageEncoder | None = None,
        base: str | None = None,
        trust_remote_code: bool = False,
        verify: bool | str = "auto",
    ) -> Self:
        """Read a model that :meth:`save` wrote.

        It predicts the same: labels are equal, and scores differ by rounding alone. Files are
        mapped with another alignment than arrays have in memory, and some CPUs round products
        differently then, by about 1e-7 of a score. Two loads of a folder are equal to the bit.

        Large arrays are memory maps: they are read when they are needed, and processes share
        them. Only files that the model was saved with are read. If the folder is replaced
        meanwhile, it is read again. Files must not be changed in place while the model is in use.

        Parameters
        ----------
        folder : path-like
            Where the model is.
        device : str, default="auto"
            Where to compute; it becomes the parameter `device`.
        image_encoder : str, callable or ImageEncoder, default=None
            The image encoder that the model was fitted with, if that was a callable or a folder;
            None looks for the saved name in packages and on the hub, and in no folder. A name or
            a callable takes the place of the model alone; what else was said by an `ImageEncoder`
            stays.
        base : str, default=None
            Where the language model under the adapters is, for a model saved without it; None
            looks for it in packages and on the hub, under the name that it had. One that came
            from a folder has to be passed. Other weights are refused.
        trust_remote_code : bool, default=False
            Whether Python code that comes with a model may run; it becomes the parameter of
            that name of encoders that are objects.
        verify : {"auto", True, False}, default="auto"
            Whether files must have the bytes that were saved. True compares the sha256 of each
            file, which takes half a second a gigabyte. "auto" does so for files of up to 4 MiB, and
            compares half a megabyte of larger ones, evenly spread: that notices other files, cut
            and overwritten ones, but not each single byte. False is for folders that were changed
            on purpose.

        Returns
        -------
        estimator : object
            The fitted estimator.

        Raises
        ------
        FileNotFoundError
            If the folder or one of its files is missing; the message names it.
        ValueError
            If a file is damaged, is a link or was not saved with the model, the format is newer
            than this version of skxmc, the model is of another class, or `device` cannot be used.
        """
        from .._runtime._device import resolve_device

        resolve_device(device)
        folder = Path(folder).expanduser()
        for reading in readings(folder, verify=verify, parts=(TOWER,)):
            with reading as content:
                estimator = _find_class(cls, content["class"], folder)._from_content(
                    content, folder, device, image_encoder, base, trust_remote_code
                )
        return estimator

    @classmethod
    def _from_content(cls, content, folder, device, image_encoder, base, trust_remote_code):
        parameters = {
            name: rebuild(value)
            for name, value in content["parameters"].items()
            if name not in NEVER_FROM_A_FOLDER
        }
        kinds = rebuild(content["evidence"])
        _set_trust({**parameters, "evidence of the fit": kinds}, trust_remote_code)
        parameters["device"] = str(device)
        if image_encoder is None and "image_encoder" in content["not_saved"]:
            image_encoder = MissingImageEncoder()
        if image_encoder is not None:
            saved = parameters.get("image_encoder")
            if isinstance(saved, ImageEncoder) and not isinstance(image_encoder, ImageEncoder):
                saved.model = image_encoder
            else:
                parameters["image_encoder"] = image_encoder
            image_encoder = resolve_image_encoder(image_encoder).model
        known = inspect.signature(cls).parameters
        estimator = cls(**{name: value for name, value in parameters.items() if name in known})
        for name, value in content["fitted"].items():
            if name.endswith("_") and not name.startswith("_") and not hasattr(cls, name):
                setattr(estimator, name, value)
        estimator.featurizer_ = _load_featurizer(
            content["featurizer"], folder, estimator, image_encoder, base, trust_remote_code
        )
        estimator.ranker_ = Ranker.from_state(content["ranker"], kinds)
        estimator._settle()
        return estimator

    # -- pickles ------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # Weights of the text encoder and indexes turn themselves into arrays on the CPU.
        return {
            **super().__getstate__(),
            "_sklearn_version": sklearn.__version__,
            "_skxmc_version": skxmc_version(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        name = type(self).__name__
        before = state.pop("_sklearn_version", "unknown")
        if before != sklearn.__version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=name,
                    current_sklearn_version=sklearn.__version__,
                    original_sklearn_version=before,
                ),
                stacklevel=2,
            )
        before = state.pop("_skxmc_version", "unknown")
        if before != skxmc_version():
            warnings.warn(
                f"this {name} was pickled by skxmc {before} and is read by {skxmc_version()}, "
                "which may fail or give other results; save and load work across versions.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
        if "ranker_" in state:
            self._settle()

    def _settle(self) -> None:
        """Move all that computes to the estimator's device, or to the CPU if that is not there."""
        from .._runtime._device import precision_name, resolve_device

        try:
            device = resolve_device(self.device)
        except ValueError as error:
            warnings.warn(f"the model is loaded on the CPU: {error}", UserWarning, stacklevel=3)
            device = resolve_device("cpu")
        precision = precision_name(self.precision, device)
        self.featurizer_.move_to(device, precision)
        self.ranker_.move_to(str(device), precision)


class MissingImageEncoder:
    """Stands where a callable image encoder was, which a folder cannot hold."""

    def __call__(self, images: list) -> np.ndarray:
        raise ValueError(
            "the model was fitted with a callable image_encoder, which is not part of a saved "
            "folder; load it with load(folder, image_encoder=...)."
        )

    def __repr__(self) -> str:
        return "MissingImageEncoder()"


# -- what goes into a folder --------------------------------------------------------------------


def _storable_parameters(estimator: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters that a folder can hold, and what became of the others."""
    parameters, notes = {}, {}
    for name, value in estimator.get_params(deep=False).items():
        if name == "memory" and value is not None:
            notes[name] = NEVER_FROM_A_FOLDER[name]
            continue
        try:
            parameters[name] = _plain(_OF_LABELS.get(name, _as_it_is)(value))
        except TypeError as error:
            notes[name] = f"{error}; set it after loading, before another fit"
    if isinstance(estimator.encoder, Precomputed):  # what fit has read of it is in the model
        parameters["encoder"] = _plain(Precomputed())
        notes.pop("encoder", None)
    if "image_encoder" in notes:
        notes["image_encoder"] = "a callable; pass it as load(folder, image_encoder=...)"
        if isinstance(estimator.image_encoder, ImageEncoder):  # the rest of it is saved
            rest = {**estimator.image_encoder.get_params(deep=False), "model": None}
            parameters["image_encoder"] = _plain(ImageEncoder(**rest))
    return parameters, notes


def _as_it_is(value: Any) -> Any:
    return value


def _plain(value: Any, nested: bool = False) -> Any:
    """A parameter as numbers, strings, lists, tuples, or one array of numbers."""
    if isinstance(value, BaseEstimator):
        return describe(value, _plain)
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        return str(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not nested:
        return value
    if isinstance(value, tuple):
        return tuple(_plain(part, True) for part in value)
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("holds a dict whose keys are no str")
        return {name: _plain(part, True) for name, part in value.items()}
    is_array = isinstance(value, np.ndarray) and nested  # a picture
    if callable(value) or is_array or isinstance(value, bytes) or not hasattr(value, "__len__"):
        raise TypeError(f"holds an object of type {type(value).__name__}")
    return [_plain(part, True) for part in sequence_to_list(value)]


def _described(kind: Evidence) -> dict[str, Any]:
    """Class and parameters of a kind of evidence."""
    try:
        return describe(kind, _plain)
    except TypeError as error:
        raise TypeError(
            f"the evidence {kind.name!r} {error}, which a folder cannot hold; use joblib.dump."
        ) from error


def _set_trust(parameters: dict[str, Any], trust_remote_code: bool) -> None:
    """Let encoders run code of their own only if the caller says so."""
    asked = False
    for value in _objects(parameters):
        if hasattr(value, "trust_remote_code"):
            asked = asked or value.trust_remote_code
            value.trust_remote_code = trust_remote_code
    if asked and not trust_remote_code:
        warnings.warn(
            "the model was fitted with trust_remote_code=True and is loaded without; pass "
            "trust_remote_code=True if you trust the code of its encoders.",
            UserWarning,
            stacklevel=4,
        )


def _objects(value: Any) -> Iterator[BaseEstimator]:
    """All objects among parameters, and those that are parameters of them."""
    if isinstance(value, BaseEstimator):
        yield value
        value = value.get_params(deep=False)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _objects(part)


def _fitted_attributes(estimator: Any) -> dict[str, Any]:
    """Fitted attributes beside the parts that have their own form; names are packed."""
    return {
        name: _packed(name, value)
        for name, value in vars(estimator).items()
        if name.endswith("_")
        and not name.startswith("_")
        and name not in ("featurizer_", "ranker_")
    }


def _packed(name: str, value: Any) -> Any:
    """Names of labels in a form that processes share, and other attributes as they are."""
    if name == "classes_" and isinstance(value, np.ndarray) and value.dtype == object:
        return PackedNames.of(value)
    if name == "label_texts_" and isinstance(value, list):
        return PackedLists.of(value)
    return value


def _save_featurizer(featurizer: Featurizer, folder: Path, include_base: bool) -> dict[str, Any]:
    tower = encoder = None
    if featurizer.tower is not None:
        tower = featurizer.tower.save(folder / TOWER, include_base=include_base)
    if featurizer.image_encoder is not None:
        model = featurizer.image_encoder.model
        encoder = {
            "model": None if callable(model) else os.fspath(model),
            "batch_size": featurizer.image_encoder.batch_size,
            "layers": featurizer.image_encoder.layers,
            "padding": featurizer.image_encoder.padding,
            "dimension": featurizer.image_encoder.dimension,
        }
    return {
        "precision": featurizer.precision,
        "tower": tower,
        "image_encoder": encoder,
        "whitener": featurizer.whitener and featurizer.whitener.state_dict(),
        "words": featurizer.words and featurizer.words.state_dict(),
    }


def _load_featurizer(
    state: dict[str, Any],
    folder: Path,
    estimator: Any,
    image_encoder: Any,
    base: str | None,
    trust_remote_code: bool,
) -> Featurizer:
    tower = encoder = None
    if state["tower"] is not None:
        from .._towers._saving import load_tower

        try:
            tower = load_tower(
                folder / TOWER, state["tower"], trust_remote_code=trust_remote_code, base=base
            )
        except Exception as error:  # whatever transformers raises for files that are damaged
            raise ValueError(
                f"the text encoder in {str(folder / TOWER)!r} cannot be loaded: {error}"
            ) from error
    if state["image_encoder"] is not None:
        from .._pictures._image_encoder import ImageEncoder as LoadedEncoder

        encoder = LoadedEncoder(
            state["image_encoder"]["model"] if image_encoder is None else image_encoder,
            folders=image_encoder is not None,
            batch_size=state["image_encoder"]["batch_size"],
            layers=state["image_encoder"]["layers"],
            padding=state["image_encoder"]["padding"],
            trust_remote_code=trust_remote_code,
            verbose=estimator.verbose,
        )
        # Known, so that items without pictures need no model.
        encoder._dimension = state["image_encoder"]["dimension"]
    featurizer = Featurizer(tower, encoder, state["precision"])
    if state["words"] is not None:
        from .._features._words import SparseTextFeatures

        featurizer.words = SparseTextFeatures.from_state(state["words"])
    if state["whitener"] is not None:
        featurizer.whitener = ImageWhitener.from_state(state["whitener"])
    return featurizer


# -- small things -------------------------------------------------------------------------------


def _find_class(cls: type, name: str, folder: Path) -> type:
    """The class of a saved model: `cls`, or a subclass of an abstract one."""
    if cls.__name__ == name:
        return cls
    if inspect.isabstract(cls):
        package = _package()
        # Public names are imported when they are asked for.
        public = getattr(package, name) if name in package.__all__ else None
        for candidate in (public, *_subclasses(cls)):
            if (
                isinstance(candidate, type)
                and issubclass(candidate, cls)
                and candidate.__name__ == name
            ):
                return candidate
    raise ValueError(
        f"the model in {str(folder)!r} is a {name}, not a {cls.__name__}; load it with {name}.load."
    )


def _subclasses(cls: type) -> list[type]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]


def _warn_of_loss(notes: dict[str, str], name: str) -> None:
    warnings.warn(f"{name} is not saved: {notes[name]}.", UserWarning, stacklevel=3)


def skxmc_version() -> str:
    """Version of the package, which this module must not import as a whole."""
    return _package().__version__


def _package() -> Any:
    return sys.modules[__name__.partition(".")[0]]


def _versions() -> dict[str, str]:
    others = ("scikit-learn", "numpy", "torch", "transformers")
    return {"skxmc": skxmc_version(), **{name: version(name) for name in others}}
