"""Reader of Annif's corpora: documents with subjects of a vocabulary."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import scipy.sparse as sp
from sklearn.utils import Bunch

from ._base import make_bunch, make_split, targets
from ._delimited import delimited_rows
from ._files import as_id, as_text, json_records, text_lines
from ._vocabulary import Vocabulary, clean_uri, read_vocabulary


def load_annif(
    corpus: str | os.PathLike,
    vocabulary: str | os.PathLike,
    *,
    test: str | os.PathLike | None = None,
    language: str | None = None,
) -> Bunch:
    r"""Load a corpus and a subject vocabulary in the formats of Annif [1]_.

    Parameters
    ----------
    corpus : path
        A file, which may be packed by gzip, or a folder:

        * ``.tsv``: a line is the text, a tab and URIs of subjects between blanks.
        * ``.csv``: columns ``text``, ``subject_uris`` and perhaps ``document_id``.
        * ``.jsonl``: objects with ``"text"``, ``"subjects"``, a list of ``{"uri": ...}`` or
          ``{"label": ...}``, and perhaps ``"document_id"``.
        * A folder of ``.txt`` files, each beside a ``.tsv`` with a subject a line, URI, tab and
          label, or a ``.key`` with a preferred label a line.
    vocabulary : path
        ``.tsv``: URI, tab, label, perhaps a tab and a notation; ``.csv``: columns ``uri`` and
        ``label_en`` and so on; or SKOS in ``.ttl``, ``.rdf`` or ``.nt``, which needs the extra
        ``annif``.
    test : path, optional
        Another corpus: the test set.
    language : str, optional
        The language of the labels, such as ``"fi"``; needed where the vocabulary has several. A
        concept without labels in it gets labels without a language, else preferred labels in other
        languages, else its URI.

    Returns
    -------
    data : Bunch
        As of :func:`load_xmc_folder`, without images, exclude pairs and groups.

        label_ids : list of str
            The URIs of the concepts that are in use; deprecated ones are left out.
        label_text : list of list of str
            The labels of each concept, the preferred one first, then the alternative ones.
        label_parents : list of list of int
            Columns of the broader concepts of each.
        uids_train, uids_test : list of str or None
            Document ids, or names of the files without suffix.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ImportError
        If the vocabulary is in SKOS and rdflib is not installed.
    ValueError
        If a file is not of its format, or `language` is missing or not in the vocabulary. The
        message names the file and the line.

    Warns
    -----
    UserWarning
        If documents name subjects that the vocabulary does not have; these are left out. A
        deprecated subject is replaced by its successor, if it names one. Files of a folder without
        subjects are left out if others have some.

    References
    ----------
    .. [1] O. Suominen, "Annif: DIY automated subject indexing using multiple algorithms", LIBER
       Quarterly 29(1), 2019, https://github.com/NatLibFi/Annif/wiki

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skxmc.datasets import load_annif
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "vocabulary.tsv").write_text('''<http://example.org/sheep>\tsheep
    ... <http://example.org/wool>\twool
    ... ''')
    >>> _ = (folder / "corpus.tsv").write_text(
    ...     "Shearing for wool\t<http://example.org/sheep> <http://example.org/wool>")
    >>> data = load_annif(folder / "corpus.tsv", folder / "vocabulary.tsv")
    >>> data.text_train, data.label_text, data.Y_train.toarray().tolist()
    (['Shearing for wool'], [['sheep'], ['wool']], [[1.0, 1.0]])
    >>> data.label_ids
    ['http://example.org/sheep', 'http://example.org/wool']
    """
    source = Path(vocabulary).expanduser()
    known = read_vocabulary(source)
    language = _choose_language(known, language, source)
    subjects = _Subjects(known, language)
    splits = {"train": _read_corpus(Path(corpus).expanduser(), subjects)}
    if test is not None:
        splits["test"] = _read_corpus(Path(test).expanduser(), subjects)
    return make_bunch(
        splits["train"],
        splits.get("test"),
        label_text=subjects.texts,
        label_ids=list(subjects.number_of),
        label_parents=[
            sorted(subjects.number_of[uri] for uri in c.broader if uri in subjects.number_of)
            for c in known.concepts
        ],
        DESCR=Path(corpus).name,
    )


def _choose_language(vocabulary: Vocabulary, language: str | None, path: Path) -> str:
    languages = vocabulary.languages()
    if language is None:
        if len(languages) > 1:
            raise ValueError(f"{path} has the languages {', '.join(languages)}; set language.")
        return languages[0] if languages else ""
    language = language.lower()
    if languages and language.partition("-")[0] not in languages:
        raise ValueError(
            f"language is {language!r}, but {path} has {', '.join(languages)}; pass one of them."
        )
    return language


class _Subjects:
    """Numbers of concepts by URI and by preferred label."""

    def __init__(self, vocabulary: Vocabulary, language: str) -> None:
        self.texts = [concept.texts(language) for concept in vocabulary.concepts]
        self.number_of = {c.uri: number for number, c in enumerate(vocabulary.concepts)}
        self.replaced = vocabulary.replaced
        self._by_label: dict[str, list[int]] = {}
        for number, texts in enumerate(self.texts):
            self._by_label.setdefault(texts[0], []).append(number)

    def by_uri(self, uri: str) -> int | None:
        """The concept's number, or that of its successor."""
        uri = clean_uri(uri)
        return self.number_of.get(uri, self.number_of.get(self.replaced.get(uri, "")))

    def by_label(self, label: str) -> int | None:
        """The number of the one concept with this preferred label; homonyms give None."""
        found = self._by_label.get(label, [])
        return found[0] if len(found) == 1 else None


@dataclass
class _Documents:
    """What a corpus holds, and which of its subjects are in no vocabulary."""

    subjects: _Subjects
    texts: list[str] = field(default_factory=list)
    uids: list[str | None] = field(default_factory=list)
    rows: list[set[int]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)  # subject and place

    def add(self, text: str, uid: str | None, names: list[tuple[str, bool]], place: str) -> None:
        """Take a document; `names` are its subjects, each with whether it is a URI."""
        row = set()
        for name, is_uri in names:
            number = self.subjects.by_uri(name) if is_uri else self.subjects.by_label(name)
            if number is None:
                self.unknown.append((clean_uri(name), place))
            else:
                row.add(number)
        self.texts.append(text)
        self.uids.append(uid)
        self.rows.append(row)


def _read_corpus(path: Path, subjects: _Subjects) -> Bunch:
    documents = _Documents(subjects)
    suffix = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    readers: dict[str, Callable] = {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl}
    if path.is_dir():
        _read_folder(path, documents)
    elif suffix in readers:
        readers[suffix](path, documents)
    else:
        raise ValueError(
            f"{path} is neither a folder nor a file .tsv, .csv or .jsonl; pass a corpus of Annif."
        )
    if documents.unknown:
        name, place = documents.unknown[0]
        warnings.warn(
            f"{len(documents.unknown)} subjects of {path} are not in the vocabulary, or are labels "
            f"of several concepts, the first one {name!r} in {place}; they are left out.",
            UserWarning,
            stacklevel=3,
        )
    Y = targets(documents.rows, len(subjects.texts))
    has_ids = bool(documents.uids) and None not in documents.uids
    return make_split(
        text=documents.texts,
        Y=Y,
        uids=documents.uids if has_ids else None,
        exclude=sp.csr_array(Y.shape, dtype=bool),
    )


def _read_tsv(path: Path, documents: _Documents) -> None:
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        text, tab, uris = line.partition("\t")
        if not tab:
            raise ValueError(
                f"line {number} of {path} has no tab; a line is a text, a tab and URIs, none for a "
                "document without subjects."
            )
        names = [(uri, True) for uri in uris.split()]
        documents.add(text.strip(), None, names, f"line {number}")


def _read_csv(path: Path, documents: _Documents) -> None:
    rows = delimited_rows(path)
    _, names = next(rows)
    if "text" not in names or "subject_uris" not in names:
        raise ValueError(f"{path} has the columns {names}; it needs text and subject_uris.")
    for number, cells in rows:
        row = dict(zip(names, cells, strict=True))
        uris = [(uri, True) for uri in row["subject_uris"].split()]
        uid = row.get("document_id") or None
        documents.add(row["text"].strip(), uid, uris, f"line {number}")


def _read_jsonl(path: Path, documents: _Documents) -> None:
    for number, record in json_records(path):
        place = f"line {number} of {path}"
        if "text" not in record:
            raise ValueError(f'{place} has no "text", only {list(record)}; add it.')
        subjects = record.get("subjects") or []
        names = []
        for subject in subjects if isinstance(subjects, list) else [subjects]:
            name = subject.get("uri", subject.get("label")) if isinstance(subject, dict) else None
            if not isinstance(name, str):
                raise ValueError(
                    f'{place} has the subject {subject!r}; write {{"uri": ...}} or '
                    '{"label": ...}.'
                )
            names.append((name.strip(), "uri" in subject))
        uid = record.get("document_id")
        uid = None if uid is None else as_id(uid, f"document_id in {place}")
        documents.add(as_text(record["text"], f"the text in {place}"), uid, names, f"line {number}")


def _read_folder(path: Path, documents: _Documents) -> None:
    files = sorted(path.glob("*.txt"))
    if not files:
        raise FileNotFoundError(f"{path} has no .txt files; pass a folder with a corpus of Annif.")
    subjects = {
        file: next((beside for beside in _beside(file) if beside.is_file()), None) for file in files
    }
    missing = [file for file, beside in subjects.items() if beside is None]
    if missing and len(missing) < len(files):
        warnings.warn(
            f"{len(missing)} of {len(files)} documents in {path} have no subjects, the first one "
            f"{missing[0].name}; they are left out. Add a .tsv or .key file beside each, empty for "
            "a document without subjects.",
            UserWarning,
            stacklevel=4,
        )
        files = [file for file in files if subjects[file] is not None]
    for file in files:
        beside = subjects[file]
        names = [] if beside is None else _read_subjects(beside)
        text = "\n".join(text_lines(file)).strip()
        documents.add(text, file.stem, names, "" if beside is None else beside.name)


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_suffix(".tsv"), file.with_suffix(".key")


def _read_subjects(path: Path) -> list[tuple[str, bool]]:
    """A subject a line: a URI in angle brackets, wherever it stands, else what stands first."""
    names = []
    for line in text_lines(path):
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        uris = [cell for cell in cells if cell.startswith("<") and cell.endswith(">")]
        if uris:
            names.append((uris[0], True))
        elif cells:
            names.append((cells[0], "://" in cells[0]))
    return names
