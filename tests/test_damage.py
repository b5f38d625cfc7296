"""Whatever bytes of a file change, a reader returns data or says what is wrong."""

import gzip
import json
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skxmc.datasets import (
    load_annif,
    load_pecos,
    load_svmlight_xmc,
    load_table,
    load_xmc_folder,
    load_xmc_repository,
)

COLUMNS = {"text": "t", "labels": "l", "id": "i", "images": "p", "missing_images": "ignore"}
TABLE = pd.DataFrame({"t": ["a", "b"], "l": ["x|y", None], "i": ["1", "2"], "p": ["a.png", ""]})


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def write_folder(folder):
    labels = lines({"uid": "a", "text": "A"}, {"uid": "b", "text": "B"})
    (folder / "labels.jsonl.gz").write_bytes(gzip.compress(labels))
    train = lines({"text": "x", "labels": [0], "image": "a.png"}, {"text": "y", "labels": []})
    (folder / "train.jsonl.gz").write_bytes(train)
    (folder / "filter_train.jsonl.gz").write_bytes(lines({"row": 0, "label": 0}))
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"picture" * 9)
    return lambda: load_xmc_folder(folder)


def write_repository(folder):
    (folder / "lbl.json").write_bytes(lines({"uid": "a", "title": "A"}, {"uid": 7, "title": "B"}))
    train = lines({"uid": "c", "title": "C", "content": None, "target_ind": [0, 1]})
    (folder / "trn.json").write_bytes(train)
    (folder / "filter_labels_train.txt").write_bytes(b"0 1\n")
    return lambda: load_xmc_repository(folder)


def write_vixml(folder):
    (folder / "trn.raw.txt").write_bytes(b"a->A\nb->B\n")
    (folder / "lbl.raw.txt").write_bytes(b"x->X\ny->Y\nz->Z\n")
    (folder / "trn_X_Y.txt").write_bytes(b"2 3\n0:1 2:1\n1:1\n")
    np.save(folder / "trn_embs_imgs_3_8_siglip2.npy", np.ones((3, 8), dtype=np.float32))
    entries = np.empty(2, dtype=object)
    entries[:] = [[0, 2], -1]
    np.save(folder / "train_imgs_384_3_map.npy", entries)
    return lambda: load_xmc_repository(folder)


def write_mufin(folder):
    (folder / "raw_data").mkdir()
    (folder / "images").mkdir()
    (folder / "raw_data" / "train.raw.txt").write_bytes(b"a->A\nb->B\n")
    (folder / "raw_data" / "label.raw.txt").write_bytes(b"x->X\n")
    sp.save_npz(folder / "trn_X_Y.npz", sp.csr_matrix([[1], [0]]))
    (folder / "images" / "img.bin").write_bytes(b"a\taaaa\nb\tbbbb\n")
    sp.save_npz(folder / "images" / "train.img.bin.npz", sp.csr_matrix([[1, 8], [0, 8]]))
    return lambda: list(load_xmc_repository(folder).images_train or ())


def write_pecos(folder):
    sp.save_npz(folder / "X.trn.npz", sp.csr_matrix([[0.5, 0], [0, 1]]))
    sp.save_npz(folder / "Y.trn.npz", sp.csr_matrix([[1, 0, 1], [0, 1, 0]]))
    (folder / "output-items.txt").write_bytes(b"a\nb\nc\n")
    return lambda: load_pecos(folder)


def write_svmlight(folder):
    path = folder / "train.txt"
    path.write_bytes(b"2 4 3\n0,2 0:0.5 3:1\n1 1:2\n")
    return lambda: load_svmlight_xmc(path)


def write_annif(folder, suffix):
    vocabulary = {
        "tsv": "<http://a/a>\ta\n<http://a/b>\tb\n",
        "csv": "uri,label_en\nhttp://a/a,a\nhttp://a/b,b\n",
        "ttl": "@prefix s: <http://www.w3.org/2004/02/skos/core#> .\n"
        '<http://a/a> a s:Concept ; s:prefLabel "a"@en ; s:broader <http://a/b> .\n'
        '<http://a/b> a s:Concept ; s:prefLabel "b"@en .\n',
    }[suffix]
    (folder / f"v.{suffix}").write_text(vocabulary)
    corpus = {
        "tsv": b"text\t<http://a/a>\n",
        "csv": b'text,subject_uris\n"a, b",http://a/a http://a/b\n',
        "ttl": lines({"document_id": 1, "text": "a", "subjects": [{"uri": "http://a/a"}]}),
    }[suffix]
    path = folder / ("c.jsonl" if suffix == "ttl" else f"c.{suffix}")
    path.write_bytes(corpus)
    return lambda: load_annif(path, folder / f"v.{suffix}")


def write_table(folder, suffix):
    path = folder / f"table.{suffix}"
    if suffix == "csv":
        TABLE.to_csv(path, index=False)
    elif suffix == "jsonl":
        TABLE.to_json(path, orient="records", lines=True)
    else:
        TABLE.to_parquet(path)
    return lambda: load_table(path, **COLUMNS)


WRITERS = {
    "folder": write_folder,
    "repository": write_repository,
    "vixml": write_vixml,
    "mufin": write_mufin,
    "pecos": write_pecos,
    "svmlight": write_svmlight,
    "annif, tsv": lambda folder: write_annif(folder, "tsv"),
    "annif, csv": lambda folder: write_annif(folder, "csv"),
    "annif, skos": lambda folder: write_annif(folder, "ttl"),
    "csv": lambda folder: write_table(folder, "csv"),
    "json lines": lambda folder: write_table(folder, "jsonl"),
    "parquet": lambda folder: write_table(folder, "parquet"),
}


@pytest.mark.parametrize("kind", WRITERS)
@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files(kind, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    load = WRITERS[kind](folder)
    load()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["change", "cut", "insert"]))
    if how == "cut":
        del content[place:]
    else:
        rubbish = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + (len(rubbish) if how == "change" else 0)] = rubbish
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(ValueError, FileNotFoundError):  # anything else fails the test
            load()
