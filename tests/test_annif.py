"""Reader of Annif's corpora and vocabularies."""

import gzip
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.datasets import load_annif

SHEEP, WOOL, ANIMAL, OLD = (f"http://example.org/{name}" for name in ("s", "w", "a", "old"))
TURTLE = f"""
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix dct: <http://purl.org/dc/terms/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<{SHEEP}> a skos:Concept ; skos:prefLabel "sheep"@en, "lammas"@fi ;
    skos:altLabel "ewe"@en, "ram"@en-GB, "uuhi"@fi ; skos:broader <{ANIMAL}> .
<{WOOL}> a skos:Concept ; skos:prefLabel "villa"@fi .
<{ANIMAL}> a skos:Concept ; rdfs:label "animal" ; skos:narrower <{WOOL}>, <{OLD}> .
<{OLD}> a skos:Concept ; skos:prefLabel "old"@en ; owl:deprecated true ;
    dct:isReplacedBy <{SHEEP}> .
<{OLD}2> a skos:Concept ; skos:prefLabel "older"@en ; owl:deprecated true .
<{ANIMAL}> skos:broader <{ANIMAL}/none> .
"""


@pytest.fixture
def folder(tmp_path):
    lines = f"<{SHEEP}>\tsheep\n<{WOOL}>\twool\t12\n<{OLD}>\n{ANIMAL}\tanimal\n"
    (tmp_path / "vocabulary.tsv").write_text(lines)
    (tmp_path / "vocabulary.ttl").write_text(TURTLE)
    (tmp_path / "vocabulary.csv").write_text(
        f"uri,label_fi,label_en,notation\n{SHEEP},lammas,sheep,1\n{WOOL},villa,,\n{OLD},,,\n"
    )
    (tmp_path / "corpus.tsv").write_text(f"Shearing\t<{SHEEP}> <{WOOL}>\nNothing\t\n")
    return tmp_path


def rows(Y):
    return [Y[[row]].indices.tolist() for row in range(Y.shape[0])]


def test_tsv(folder):
    data = load_annif(folder / "corpus.tsv", folder / "vocabulary.tsv")
    assert data.label_ids == [SHEEP, WOOL, ANIMAL]
    assert data.label_text == [["sheep"], ["wool"], ["animal"]]
    assert data.label_parents == [[], [], []]
    assert data.text_train == ["Shearing", "Nothing"]
    assert data.uids_train is data.text_test is None
    assert rows(data.Y_train) == [[0, 1], []]
    assert data.Y_train.dtype == np.float32
    assert data.exclude_train.shape == data.Y_train.shape


def test_tsv_needs_no_rdflib(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdflib", None)
    load_annif(folder / "corpus.tsv", folder / "vocabulary.tsv")
    with pytest.raises(ImportError, match=r"skxmc\[annif\]"):
        load_annif(folder / "corpus.tsv", folder / "vocabulary.ttl", language="en")


def test_skos(folder):
    pytest.importorskip("rdflib")
    data = load_annif(folder / "corpus.tsv", folder / "vocabulary.ttl", language="en")
    assert data.label_ids == [ANIMAL, SHEEP, WOOL]
    assert data.label_text == [["animal"], ["sheep", "ewe", "ram"], ["villa"]]
    assert data.label_parents == [[], [0], [0]]
    assert rows(data.Y_train) == [[1, 2], []]
    finnish = load_annif(folder / "corpus.tsv", folder / "vocabulary.ttl", language="FI")
    assert finnish.label_text == [["animal"], ["lammas", "uuhi"], ["villa"]]


def test_deprecated_concepts(folder):
    pytest.importorskip("rdflib")
    (folder / "corpus.tsv").write_text(f"a\t<{OLD}>\nb\t<{OLD}2> <{WOOL}>\n")
    with pytest.warns(UserWarning, match=r"1 subjects of .*old2' in line 2"):
        data = load_annif(folder / "corpus.tsv", folder / "vocabulary.ttl", language="en")
    assert rows(data.Y_train) == [[1], [2]]
    with pytest.warns(UserWarning, match=r"2 subjects of .*old' in line 1"):
        load_annif(folder / "corpus.tsv", folder / "vocabulary.tsv")


@pytest.mark.parametrize("form", ["xml", "nt"])
def test_other_forms_of_skos(form, folder):
    rdflib = pytest.importorskip("rdflib")
    path = folder / {"xml": "v.rdf", "nt": "v.nt"}[form]
    graph = rdflib.Graph().parse(data=TURTLE, format="turtle")
    graph.serialize(path, format=form, encoding="utf-8")
    data = load_annif(folder / "corpus.tsv", path, language="en")
    assert data.label_ids == [ANIMAL, SHEEP, WOOL]
    (folder / "v.ttl.gz").write_bytes(gzip.compress(TURTLE.encode()))
    assert load_annif(folder / "corpus.tsv", folder / "v.ttl.gz", language="en").label_text == (
        data.label_text
    )


def test_csv(folder):
    (folder / "corpus.csv").write_text(
        f'document_id,text,subject_uris\n7,"Shearing,\nand more",<{SHEEP}> {WOOL}\n8,,\n'
    )
    data = load_annif(folder / "corpus.csv", folder / "vocabulary.csv", language="en")
    assert data.label_text == [["sheep"], ["villa"]]
    assert data.text_train == ["Shearing,\nand more", ""]
    assert data.uids_train == ["7", "8"]
    assert rows(data.Y_train) == [[0, 1], []]


def test_json_lines(folder):
    records = [
        {"document_id": 2**70, "text": "a", "subjects": [{"uri": SHEEP}, {"label": "wool"}]},
        {"document_id": "b", "text": "b", "metadata": {}},
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)))
    data = load_annif(
        folder / "corpus.tsv", folder / "vocabulary.tsv", test=folder / "corpus.jsonl"
    )
    assert data.uids_test == [str(2**70), "b"]
    assert rows(data.Y_test) == [[0, 1], []]


def write_documents(folder, **files):
    folder = folder / "documents"
    folder.mkdir()
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(content, encoding="utf-8")
    return folder


def test_folder_of_texts(folder):
    documents = write_documents(
        folder,
        b_txt="\ufeffSecond\r\ntext\n",
        b_key="wool\r\nsheep\n\n",
        a_txt="First",
        a_tsv=f"<{SHEEP}>\tsheep\n{ANIMAL}\tanimal\n",
        c_txt="Third",
        c_tsv="",
    )
    data = load_annif(documents, folder / "vocabulary.tsv")
    assert data.uids_train == ["a", "b", "c"]
    assert data.text_train == ["First", "Second\ntext", "Third"]
    assert rows(data.Y_train) == [[0, 2], [0, 1], []]


def test_folder_with_documents_without_subjects(folder):
    documents = write_documents(folder, a_txt="First", b_txt="Second", b_key="wool\nnone\n")
    with pytest.warns(UserWarning, match="they are left out") as caught:
        data = load_annif(documents, folder / "vocabulary.tsv")
    messages = [str(warning.message) for warning in caught]
    assert any("1 of 2 documents" in message and "a.txt" in message for message in messages)
    assert any("'none' in b.key" in message for message in messages)
    assert data.uids_train == ["b"]
    (documents / "b.key").unlink()
    assert load_annif(documents, folder / "vocabulary.tsv").Y_train.nnz == 0


def test_homonyms_are_no_keys(folder):
    documents = write_documents(folder, a_txt="First", a_key="wool\n")
    with (folder / "vocabulary.tsv").open("a") as file:
        file.write("http://example.org/w2\twool\n")
    with pytest.warns(UserWarning, match="labels of several concepts, the first one 'wool'"):
        data = load_annif(documents, folder / "vocabulary.tsv")
    assert data.Y_train.nnz == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocabulary.tsv", "a b\tlabel\n", "line 1 of .*vocabulary.tsv is not a URI"),
        ("vocabulary.tsv", f"{SHEEP}\tx\n\n{SHEEP}\ty\n", "lines 1 and 3 of .* same id"),
        ("vocabulary.tsv", f"<{SHEEP}>\n", "no concept that is in use"),
        ("corpus.tsv", f"a\t<{SHEEP}>\nno tab\n", "line 2 of .*corpus.tsv has no tab"),
        ("vocabulary.csv", "uri,name\na,b\n", "needs uri, and label_en"),
        ("vocabulary.csv", "uri,label_en\n,b\n", "line 2 of .* has no URI"),
        ("vocabulary.csv", "uri,label_en\na,b,c\n", "line 2 of .* has 3 cells"),
        ("vocabulary.csv", "", "is empty"),
        ("vocabulary.ttl", "<a> <b> .", "vocabulary.ttl is not RDF in turtle"),
        ("vocabulary.ttl", '<a> <b> "c".', "no concept that is in use"),
        ("vocabulary.jsonld", "{}", "whose suffix is none of"),
        ("corpus.csv", "text,uris\na,b\n", "needs text and subject_uris"),
        ("corpus.csv", 'text,subject_uris\n"a,b\n', "line 2 of .*corpus.csv cannot be read"),
        ("corpus.jsonl", '{"subjects": []}', 'line 1 of .* has no "text"'),
        ("corpus.jsonl", '{"text": "a", "subjects": [1]}', "line 1 of .* has the subject 1"),
        ("corpus.pdf", "", "neither a folder nor a file"),
    ],
)
def test_wrong_files_are_named(name, content, message, folder):
    if name.endswith("ttl"):
        pytest.importorskip("rdflib")
    (folder / name).write_text(content)
    corpus, vocabulary = (
        folder / (name if name.startswith(stem) else f"{stem}.tsv")
        for stem in ("corpus", "vocabulary")
    )
    with pytest.raises(ValueError, match=message):
        load_annif(corpus, vocabulary)


def test_languages(folder):
    with pytest.raises(ValueError, match="has the languages en, fi; set language"):
        load_annif(folder / "corpus.tsv", folder / "vocabulary.csv")
    with pytest.raises(ValueError, match=r"language is 'sv', but .* has en, fi"):
        load_annif(folder / "corpus.tsv", folder / "vocabulary.csv", language="sv")


def test_empty_folder(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"no .txt files"):
        load_annif(write_documents(folder), folder / "vocabulary.tsv")
    with pytest.raises(FileNotFoundError, match=r"none.tsv does not exist"):
        load_annif(folder / "none.tsv", folder / "vocabulary.tsv")


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)


@given(st.lists(st.tuples(WORD, st.sets(st.integers(0, 2))), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_written_corpora_read_back(documents):
    uris = [SHEEP, WOOL, ANIMAL]
    with TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = "".join(f"<{uri}>\t{uri[-1]}\n" for uri in uris)
        (folder / "v.tsv").write_text(vocabulary)
        lines = [
            f"{text}\t{' '.join(f'<{uris[label]}>' for label in labels)}\n"
            for text, labels in documents
        ]
        (folder / "c.tsv").write_text("".join(lines), encoding="utf-8", newline="")
        data = load_annif(folder / "c.tsv", folder / "v.tsv")
    expected = [text.removeprefix("\ufeff") if not row else text
                for row, (text, _) in enumerate(documents)]  # fmt: skip
    assert data.text_train == expected
    assert rows(data.Y_train) == [sorted(labels) for _, labels in documents]
