"""Reader of PECOS folders: matrices of features and targets, with texts where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from ._base import make_bunch, make_split
from ._files import as_folder, load_csr, text_lines, without_last_blanks
from ._sparse_text import read_filter, read_targets


def load_pecos(path: str | os.PathLike) -> Bunch:
    """Load a folder as PECOS trains on it: SciPy matrices of features and targets.

    ===========  ==========================================================  ====================
    what         files, for training and test set                            in the Bunch
    ===========  ==========================================================  ====================
    targets      ``Y.trn.npz`` and ``Y.tst.npz``, or ``Y.npz`` alone         Y_train, Y_test
    features     ``X.trn.npz`` and ``X.tst.npz``, or ``X.npz``, in the       X_train, X_test
                 folder or in one of its subfolders, such as
                 ``tfidf-attnxml``
    texts        ``X.trn.txt`` and ``X.tst.txt``, or ``X.txt``               text_train, text_test
    labels       ``output-items.txt``                                        label_text
    ===========  ==========================================================  ====================

    All but the targets may be missing. Features are passed to
    ``ViXMLClassifier(encoder="precomputed")`` as they are, if they are dense, or to an estimator
    of scikit-learn; texts to the estimators of skxmc.

    Parameters
    ----------
    path : path
        The folder.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without images, groups and ids. Features are a csr_array of
        shape (n_samples, n_features), float32, or a float32 ndarray if the file is ``.npy``.

    Raises
    ------
    FileNotFoundError
        If the folder or its targets do not exist.
    ValueError
        If a file is damaged, or if numbers of rows or labels differ.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import scipy.sparse as sp
    >>> from skxmc.datasets import load_pecos
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> sp.save_npz(folder / "X.trn.npz", sp.csr_array([[0.5, 0.0], [0.0, 1.0]]))
    >>> sp.save_npz(folder / "Y.trn.npz", sp.csr_array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    >>> data = load_pecos(folder)
    >>> data.X_train.shape, data.Y_train.shape, data.text_train, data.X_test
    ((2, 2), (2, 3), None, None)
    """
    folder = as_folder(path)
    train = _first(folder, "Y.trn.npz", "Y.npz")
    if train is None:
        raise FileNotFoundError(
            f"{folder} has neither Y.trn.npz nor Y.npz; pass the folder of one PECOS data set."
        )
    is_split = train.name == "Y.trn.npz"
    splits = {"train": _read_split(folder, train, ".trn" if is_split else "", "train")}
    test = folder / "Y.tst.npz"
    if is_split and test.is_file():
        splits["test"] = _read_split(folder, test, ".tst", "test")
        _same_columns(splits, folder)
    label_text = None
    labels = folder / "output-items.txt"
    if labels.is_file():
        n_labels = splits["train"].Y.shape[1]
        label_text = _read_texts(labels, n_labels, f"labels by {train.name}")
    return make_bunch(splits["train"], splits.get("test"), label_text=label_text, DESCR=folder.name)


def _read_split(folder: Path, path: Path, middle: str, name: str) -> Bunch:
    Y = read_targets(path)
    n_rows = Y.shape[0]
    texts = folder / f"X{middle}.txt"
    features = _find_features(folder, middle)
    X = None
    if features is not None:
        X = _read_features(features)
        if X.shape[0] != n_rows:
            raise ValueError(
                f"{features} has {X.shape[0]} rows, and {path} has {n_rows}; the files must be of "
                "one data set."
            )
    return make_split(
        text=_read_texts(texts, n_rows, f"rows of {path.name}") if texts.is_file() else None,
        X=X,
        Y=Y,
        exclude=read_filter(folder / f"filter_labels_{name}.txt", Y.shape),
    )


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _find_features(folder: Path, middle: str) -> Path | None:
    names = (f"X{middle}.npz", f"X{middle}.npy")
    found = _first(folder, *names)
    if found is not None:
        return found
    below = sorted(path for name in names for path in folder.glob(f"*/{name}"))
    if len(below) > 1:
        shown = ", ".join(str(path.relative_to(folder)) for path in below)
        raise ValueError(f"{folder} has several features, {shown}; put the wanted one beside Y.")
    return below[0] if below else None


def _read_features(path: Path) -> sp.csr_array | np.ndarray:
    if path.suffix == ".npy":
        from ._image_vectors import map_vectors

        X = map_vectors(path)
        if X.ndim != 2 or X.dtype.kind != "f":
            raise ValueError(
                f"{path} has shape {X.shape} and dtype {X.dtype}; features are floats of shape "
                "(n_samples, n_features)."
            )
        X = X.astype(np.float32, copy=False)
        rows = np.flatnonzero(~np.isfinite(X).all(axis=1))
    else:
        X = load_csr(path)
        rows = np.searchsorted(X.indptr, np.flatnonzero(~np.isfinite(X.data)), side="right") - 1
    if len(rows):
        raise ValueError(f"row {rows[0]} of {path} holds NaN or infinity; correct it.")
    return X


def _read_texts(path: Path, n_rows: int, what: str) -> list[str]:
    lines = without_last_blanks([line.strip() for line in text_lines(path, latin=True)], n_rows)
    if len(lines) != n_rows:
        raise ValueError(
            f"{path} has {len(lines)} lines, but there are {n_rows} {what}; the files must be of "
            "one data set."
        )
    return lines


def _same_columns(splits: dict[str, Bunch], folder: Path) -> None:
    for field in ("Y", "X"):
        train, test = (splits[name][field] for name in ("train", "test"))
        if train is not None and test is not None and train.shape[1] != test.shape[1]:
            raise ValueError(
                f"{field} has {train.shape[1]} columns in the training set of {folder} and "
                f"{test.shape[1]} in the test set; the files must be of one data set."
            )
