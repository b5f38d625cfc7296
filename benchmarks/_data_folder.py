"""Writing of a data set in the layout of ``skxmc.datasets.load_xmc_folder``, and comparing two."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all files in an archive: equal data are equal files


@dataclass(frozen=True)
class Document:
    """A document with the numbers of its labels."""

    uid: str
    text: str
    labels: list[int]
    image: str | None = None


@dataclass(frozen=True)
class Split:
    """Documents, and pairs of document and label that do not count."""

    name: str
    documents: list[Document]
    excluded: list[tuple[int, int]]


def write_folder(
    output: Path,
    splits: Iterable[Split],
    labels: Sequence[tuple[str, str]],
    readme: str,
    images: dict[str, bytes] | None = None,
) -> None:
    """Write a data set.

    Parameters
    ----------
    output : Path
        A new or an empty folder.
    splits : iterable of Split
    labels : sequence of (uid, text)
    readme : str
        Where the data come from and under which licences.
    images : dict of str to bytes, optional
        Pictures by the names that documents give.
    """
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise SystemExit(f"{output} is not empty; name a new folder.")
    _write(output / "labels", ({"uid": uid, "text": text, "image": None} for uid, text in labels))
    for split in splits:
        _write(output / split.name, map(vars, split.documents))
        name = "filter" if split.name == "test" else f"filter_{split.name}"
        _write(output / name, ({"row": row, "label": label} for row, label in split.excluded))
    (output / "README.md").write_text(readme, encoding="utf-8")
    if images:
        with zipfile.ZipFile(output / "images.zip", "w") as archive:
            for name in sorted(images):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), images[name])


def _write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    lines = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    path.with_name(f"{path.name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


def summarize(folder: Path) -> dict[str, int]:
    """How much a data set holds."""
    from skxmc.datasets import load_xmc_folder

    data = load_xmc_folder(folder)
    figures = {"labels": len(data.label_ids)}
    for split in ("train", "test"):
        figures |= {
            f"{split} documents": len(data[f"text_{split}"]),
            f"{split} pairs of document and label": int(data[f"Y_{split}"].nnz),
            f"{split} pairs that do not count": int(data[f"exclude_{split}"].nnz),
            f"{split} pictures": sum(image is not None for image in data[f"images_{split}"] or ()),
        }
    return figures


def compare_folders(built: Path, other: Path) -> dict[str, dict[str, Any]]:
    """What two folders of one data set have in common.

    Returns
    -------
    figures : dict of dict
        Of the labels and of each split. Lists have a number for each of the two folders.
    """
    from skxmc.datasets import load_xmc_folder

    ours, theirs = load_xmc_folder(built), load_xmc_folder(other)
    figures: dict[str, dict[str, Any]] = {
        "labels": {
            "labels": [len(ours.label_ids), len(theirs.label_ids)],
            "in both": len(set(ours.label_ids) & set(theirs.label_ids)),
            "in the same order": ours.label_ids == theirs.label_ids,
        }
    }
    for split in ("train", "test"):
        rows = [_rows(data, split) for data in (ours, theirs)]
        both = rows[0].keys() & rows[1].keys()
        pairs = [int(data[f"Y_{split}"].nnz) for data in (ours, theirs)]
        excluded = [int(data[f"exclude_{split}"].nnz) for data in (ours, theirs)]
        figures[split] = {
            "documents": [len(part) for part in rows],
            "in both": len(both),
            "same text and labels": sum(rows[0][uid] == rows[1][uid] for uid in both),
            "pairs of document and label": pairs,
            "pairs that do not count": excluded,
        }
        if ours[f"images_{split}"] is not None and theirs[f"images_{split}"] is not None:
            figures[split] |= _compare_pictures(ours, theirs, split)
    return figures


def _rows(data: Any, split: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Text and ids of the labels of each document, by its id."""
    Y = data[f"Y_{split}"]
    return {
        uid: (text, frozenset(data.label_ids[label] for label in Y.indices[start:end]))
        for uid, text, start, end in zip(
            data[f"uids_{split}"], data[f"text_{split}"], Y.indptr[:-1], Y.indptr[1:], strict=True
        )
    }


def _compare_pictures(ours: Any, theirs: Any, split: str) -> dict[str, Any]:
    pictures = [
        dict(zip(data[f"uids_{split}"], data[f"images_{split}"], strict=True))
        for data in (ours, theirs)
    ]
    both = sorted(pictures[0].keys() & pictures[1].keys())
    differences = [_difference(pictures[0][uid], pictures[1][uid]) for uid in both]
    return {
        "pictures": len(both),
        "equal pictures": differences.count(0),
        "within 1 of 255": sum(difference <= 1 for difference in differences),
        "largest difference": max(differences, default=0),
    }


def _difference(first: bytes, second: bytes) -> int:
    """The largest difference of two pictures of one size in any channel, 255 for other sizes."""
    arrays = [
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        for content in (first, second)
    ]
    if arrays[0].shape != arrays[1].shape:
        return 255
    return int(np.abs(arrays[0] - arrays[1]).max(initial=0))
