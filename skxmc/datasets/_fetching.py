"""From addresses of pictures to vectors beside a benchmark's texts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from ._addresses import SIZES, read_addresses
from ._downloads import Downloader, DownloadLimits
from ._files import as_folder, replaced
from ._picture_blocks import PictureBlocks, count_failures
from ._repository import read_uids

# Splits, as the files of vectors and those of maps name them.
_FILES = {"train": ("trn", "train"), "test": ("tst", "test"), "label": ("lbl", "labels")}
_REPORT = "images_report.json"
_AGENT = "skxmc (downloads pictures of a data set for research)"


def fetch_image_vectors(
    path: str | os.PathLike,
    metadata: str | os.PathLike | Sequence[str | os.PathLike],
    encoder: Callable[[list], Any],
    *,
    name: str,
    output: str | os.PathLike | None = None,
    work: str | os.PathLike | None = None,
    max_images: int = 3,
    size: str = "large",
    side: int = 384,
    id_column: str | None = None,
    address_column: str | None = None,
    limits: DownloadLimits | None = None,
    retry_failed: bool = False,
    verbose: int = 0,
) -> Bunch:
    """Download the pictures of a benchmark's documents and labels, and write their vectors.

    The ids of the documents and labels are looked up in the metadata. The pictures are downloaded
    and reduced to small squares with white margins, and `encoder` makes vectors of them. The files
    are written where :func:`load_xmc_repository` reads them: ``trn_embs_imgs_*.npy`` with
    ``train_imgs_*_map.npy``, ``tst`` with ``test`` and ``lbl`` with ``labels``. ``skxmc images``
    is the same on the command line.

    A run may be killed at any moment. The next run with the same arguments continues where it
    stopped and makes the same files.

    Parameters
    ----------
    path : path
        Folder of the benchmark, as of :func:`load_xmc_repository`; its texts need ids (``uid``).
    metadata : path or sequence of paths
        JSON lines, packed by gzip or not, or Parquet (needs the extra ``parquet``). A record has
        an id under ``parent_asin``, ``asin``, ``uid`` or ``id``, and addresses under ``images``,
        ``imageURL``, ``img_urls`` or a similar name: one, a list, or pictures with ``thumb``,
        ``large`` and ``hi_res`` as in Amazon Reviews 2023.
    encoder : callable
        From a list of PIL images to a float array of shape (n_images, dimension).
    name : str
        Name of the encoder, used in the names of files. Vectors that exist under this name are not
        made again, so another encoder needs another name.
    output : path, optional
        Folder for the files; `path` by default.
    work : path, optional
        Folder for pictures, ``images.work`` in `output` by default. It is needed until the files
        are complete, and to make vectors with another encoder.
    max_images : int, default=3
        How many pictures of a document or label are used, the first ones.
    size : {"thumb", "large", "hi_res"}, default="large"
        Which address is taken where there are several sizes.
    side : int, default=384
        Largest side of a picture that is kept, in pixels.
    id_column, address_column : str, optional
        Where ids and addresses are, if they have other names.
    limits : DownloadLimits, optional
        Of bytes, seconds, redirects, retries and connections; private networks are out of reach
        by default.
    retry_failed : bool, default=False
        Whether addresses that failed for a reason that may have passed, such as a time-out, are
        tried again.
    verbose : int, default=0
        Show progress if positive.

    Returns
    -------
    report : Bunch
        ``coverage``: for each split the number of ``items``, of items ``listed`` in the metadata
        with an address, ``with_pictures``, and of distinct ``pictures``. ``failures``: for each
        reason, how many addresses and the first three. ``files``: the paths of vectors and maps.
        ``images_report.json`` holds the same.

    Raises
    ------
    ImportError
        If httpx is missing; the extra ``images`` brings it.
    ValueError
        If the texts have no ids, no id is in the metadata, no picture could be downloaded, or
        `output` has vectors under another name.

    Notes
    -----
    The downloads need the extra ``images``. Proxies that the environment names are not used.
    What cannot be downloaded, or is not a picture, is left out and counted.
    """
    paths = [metadata] if isinstance(metadata, (str, os.PathLike)) else list(metadata)
    _check_arguments(name, max_images, size, side)
    folder = as_folder(path)
    target = folder if output is None else Path(output).expanduser()
    names = _Names(name, max_images, side)
    names.check(target)
    ids = _read_ids(folder)
    wanted = {uid for uids in ids.values() for uid in uids}
    addresses = read_addresses(
        paths,
        wanted,
        max_images=max_images,
        size=size,
        id_column=id_column,
        address_column=address_column,
    )
    if not addresses:
        raise ValueError(
            f"none of the {len(wanted)} ids in {folder} has an address in the metadata; pass the "
            "metadata of this data set, or name its columns."
        )
    number_of = _number(ids, addresses)
    place = target / "images.work" if work is None else Path(work).expanduser()
    blocks = PictureBlocks(place, list(number_of), side)
    with (
        Downloader(limits or DownloadLimits(), _AGENT) as downloader,
        _bar(len(number_of), "pictures", verbose) as bar,
    ):
        blocks.download(downloader, retry_failed=retry_failed, done=bar.update)
    with _bar(len(number_of), "vectors", verbose) as bar:
        blocks.encode(name, encoder, done=bar.update)
    states = blocks.states()
    if not any(state.ok for state in states):
        reasons = ", ".join(count_failures(states, blocks.addresses))
        raise ValueError(
            f"none of {len(states)} pictures could be downloaded ({reasons}); check the addresses, "
            "or pass retry_failed=True later."
        )
    target.mkdir(parents=True, exist_ok=True)
    names.remove_leftovers(target)
    coverage, files = {}, []
    for split, uids in ids.items():
        rows = [[number_of[a] for a in addresses.get(uid, ())] for uid in uids]
        kept = [[number for number in row if states[number].ok] for row in rows]
        row_of = {number: row for row, number in enumerate(dict.fromkeys(chain(*kept)))}
        coverage[split] = {
            "items": len(rows),
            "listed": sum(map(bool, rows)),
            "with_pictures": sum(map(bool, kept)),
            "pictures": len(row_of),
        }
        if row_of:
            files += _write_files(target, split, names, blocks, kept, row_of)
    failures = count_failures(states, blocks.addresses)
    with replaced(target / _REPORT) as file:
        json.dump({"coverage": coverage, "failures": failures}, file, indent=1)
    return Bunch(coverage=coverage, failures=failures, files=files)


def _check_arguments(name: str, max_images: int, size: str, side: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
        raise ValueError(f"name is {name!r}; write letters, digits, '.' and '-' alone.")
    if max_images < 1:
        raise ValueError(f"max_images is {max_images}; pass at least 1.")
    if side < 1:
        raise ValueError(f"side is {side}; pass at least 1.")
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; pass one of {', '.join(SIZES)}.")


@dataclass(frozen=True)
class _Names:
    """What the files are called."""

    encoder: str
    max_images: int
    side: int

    def vectors(self, split: str, dimension: int | str) -> str:
        """The file of vectors of a split."""
        return f"{_FILES[split][0]}_embs_imgs_{self.max_images}_{dimension}_{self.encoder}.npy"

    def map(self, split: str) -> str:
        """The file of maps of a split."""
        return f"{_FILES[split][1]}_imgs_{self.side}_{self.max_images}_map.npy"

    def remove_leftovers(self, target: Path) -> None:
        """Remove half files of a run that was killed."""
        names = [self.vectors(split, "*") for split in _FILES] + [*map(self.map, _FILES), _REPORT]
        for name in names:
            for leftover in target.glob(f".{name}.*.tmp"):
                leftover.unlink(missing_ok=True)

    def check(self, target: Path) -> None:
        """Raise where the reader would find two files of one kind afterwards."""
        for split, (short, long) in _FILES.items():
            vectors = {*target.glob(f"{short}_embs_imgs_*.npy")}
            maps = {*target.glob(f"{long}_imgs_*map.npy")}
            others = vectors.difference(target.glob(self.vectors(split, "*")))
            others |= maps - {target / self.map(split)}
            if others:
                raise ValueError(
                    f"{target} has other vectors or maps of pictures already, "
                    f"{min(path.name for path in others)}; move them away, or name another folder "
                    "as output."
                )


def _read_ids(folder: Path) -> dict[str, list[str]]:
    """Ids of documents and labels, by split."""
    known = {split: uids for split, uids in read_uids(folder).items() if uids is not None}
    if not known:
        raise ValueError(
            f"the texts in {folder} have no ids, so that pictures cannot be found for them; pass "
            "the folder with trn.json.gz, whose records have a uid."
        )
    return known


def _number(ids: dict[str, list[str]], addresses: dict[str, list[str]]) -> dict[str, int]:
    """Number the distinct addresses in the order in which items name them."""
    number_of: dict[str, int] = {}
    for uids in ids.values():
        for uid in uids:
            for address in addresses.get(uid, ()):
                number_of.setdefault(address, len(number_of))
    return number_of


def _write_files(
    target: Path,
    split: str,
    names: _Names,
    blocks: PictureBlocks,
    rows: list[list[int]],
    row_of: dict[int, int],
) -> list[Path]:
    """Write vectors and map of a split.

    `rows` are the numbers of the pictures that each item has, `row_of` the row of each picture
    among the vectors.
    """
    dimension = next(vectors.shape[1] for _, vectors in blocks.vectors(names.encoder))
    vectors_path = target / names.vectors(split, dimension)
    map_path = target / names.map(split)
    entries = np.empty(len(rows), dtype=object)
    for item, row in enumerate(rows):
        # -1 where there is no picture, as the maps of ViXML have it.
        entries[item] = [row_of[number] for number in row] or -1
    with replaced(vectors_path, "wb") as file:
        vectors = np.lib.format.open_memmap(
            file.name, "w+", np.dtype(np.float32), (len(row_of), dimension)
        )
        for numbers, part in blocks.vectors(names.encoder):
            places = np.array([row_of.get(number, -1) for number in numbers.tolist()])
            vectors[places[places >= 0]] = part[places >= 0]
        vectors.flush()
        del vectors  # Windows renames no file that is mapped
        map_path.unlink(missing_ok=True)  # an old map would name rows of the new vectors
    with replaced(map_path, "wb") as file:
        np.save(file, entries, allow_pickle=True)
    return [vectors_path, map_path]


def _bar(total: int, what: str, verbose: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, disable=not verbose, file=sys.stderr)
