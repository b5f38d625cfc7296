"""Addresses of pictures, from the metadata of shops."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from .._runtime._optional import import_optional
from ._files import as_id, check_file, json_records

SIZES = ("thumb", "large", "hi_res")

# Names that are looked for where the caller gives none: Amazon Reviews 2023, then 2018, then what
# tables of addresses are usually called.
_IDS = ("parent_asin", "asin", "uid", "id")
_ADDRESSES = (
    "images", "imageURLHighRes", "imageURL", "img_urls", "image_urls", "urls", "img_url",
    "image_url", "url",
)  # fmt: skip
_PARQUET = (".parquet", ".pq")
_ROWS = 4096  # of a Parquet file that are in memory at a time


def read_addresses(
    paths: Iterable[str | os.PathLike],
    wanted: Set[str],
    *,
    max_images: int,
    size: str,
    id_column: str | None = None,
    address_column: str | None = None,
) -> dict[str, list[str]]:
    """Addresses of the pictures of some items.

    Parameters
    ----------
    paths : iterable of path
        JSON lines, packed by gzip or not, or Parquet.
    wanted : set of str
        Ids of the items; all others are passed over.
    max_images : int
        How many addresses of an item are kept, the first ones.
    size : {"thumb", "large", "hi_res"}
        Which size is taken where a picture has several; if it is missing, the next one that is
        there.
    id_column, address_column : str, optional
        Where ids and addresses are; by default the usual names.

    Returns
    -------
    addresses : dict of str to list of str
        By id, without items that have no picture. Of several records of one id the first one
        that has pictures counts.

    Raises
    ------
    ValueError
        If a file is damaged, has no such columns, or holds something else than addresses.
    """
    found: dict[str, list[str]] = {}
    ids = _IDS if id_column is None else (id_column,)
    columns = _ADDRESSES if address_column is None else (address_column,)
    for path in paths:
        n_records = n_with_ids = 0
        for place, record in _records(Path(path).expanduser(), (*ids, *columns)):
            names = {
                as_id(record[field], f"the field {field!r} of {place}")
                for field in ids
                if record.get(field) is not None
            }
            n_records += 1
            n_with_ids += bool(names)
            missing = [name for name in names & wanted if name not in found]
            if not missing:
                continue
            entry = next((record[field] for field in columns if record.get(field)), None)
            addresses = _addresses(entry, size, f"the pictures of {place}")[:max_images]
            found.update({name: addresses for name in missing if addresses})
        if n_records and not n_with_ids:
            raise ValueError(
                f"{path} has no ids under {', '.join(ids)}; name their column as id_column."
            )
    return found


def _records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of a file, and where each of them stands."""
    if path.suffix.lower() in _PARQUET:
        yield from _parquet_rows(path, columns)
    else:
        for number, record in json_records(path):
            yield f"line {number} of {path}", record


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    parquet = import_optional("pyarrow.parquet", "parquet")
    arrow = import_optional("pyarrow", "parquet")
    check_file(path)
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            known = [name for name in columns if name in names]
            if not set(known) & set(_ADDRESSES) and columns[-1] not in known:
                raise ValueError(
                    f"{path} has the columns {', '.join(names)}, and none of them is known to "
                    "hold addresses; name it as address_column."
                )
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=known):
                for record in batch.to_pylist():
                    yield f"row {number} of {path}", record
                    number += 1
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error}); get it again.") from None


def _addresses(entry: Any, size: str, place: str) -> list[str]:
    """Distinct addresses of an entry: one, a list of them, or pictures in several sizes."""
    if entry is None:
        return []
    if isinstance(entry, str):
        entry = [entry]
    if isinstance(entry, dict):  # a list for each size, or a single picture
        lists = {key: value for key, value in entry.items() if isinstance(value, list)}
        n_pictures = max(map(len, lists.values()), default=0)
        entry = [
            {key: value[number] for key, value in lists.items() if number < len(value)}
            for number in range(n_pictures)
        ] or [entry]
    if not isinstance(entry, list):
        raise ValueError(f"{place} are of type {type(entry).__name__}; write a list of addresses.")
    addresses = []
    for picture in entry:
        if isinstance(picture, dict):
            sizes = (size, *(other for other in ("large", "hi_res", "thumb") if other != size))
            picture = next((picture[name] for name in sizes if picture.get(name)), None)
        if picture is None:
            continue
        if not isinstance(picture, str):
            raise ValueError(
                f"{place} hold {picture!r}; write addresses, or dicts with thumb, large or hi_res."
            )
        addresses.append(picture.strip())
    return list(dict.fromkeys(address for address in addresses if address))
