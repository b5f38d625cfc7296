"""Readers of subject vocabularies as Annif uses them: TSV, CSV and SKOS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .._runtime._optional import import_optional
from ._base import check_distinct
from ._delimited import delimited_rows
from ._files import byte_lines, text_lines

# Formats whose parsers open nothing but the file; JSON-LD may fetch a context from the network.
_RDF = {".ttl": "turtle", ".turtle": "turtle", ".nt": "nt", ".rdf": "xml", ".xml": "xml"}
_LABEL_COLUMN = "label_"


@dataclass
class Concept:
    """A subject of a vocabulary.

    Attributes
    ----------
    uri : str
    preferred, alternative : list of (str, str)
        Language, in lower case and empty where there is none, and label.
    broader : list of str
        URIs of broader concepts.
    """

    uri: str
    preferred: list[tuple[str, str]] = field(default_factory=list)
    alternative: list[tuple[str, str]] = field(default_factory=list)
    broader: list[str] = field(default_factory=list)

    def texts(self, language: str) -> list[str]:
        """Preferred and alternative labels, the best one first and each once.

        Those in `language`, else those without a language, else the preferred ones of another;
        the URI if the concept has no label.
        """
        for wanted in (language, ""):
            preferred = [text for own, text in self.preferred if _is_of(own, wanted)]
            if preferred:
                others = [text for own, text in self.alternative if _is_of(own, wanted)]
                return list(dict.fromkeys(preferred + others))
        return list(dict.fromkeys(text for _, text in sorted(self.preferred))) or [self.uri]


@dataclass
class Vocabulary:
    """Concepts in use, and the URIs that stand for others by now.

    Attributes
    ----------
    concepts : list of Concept
    replaced : dict of str to str
        Deprecated URIs that name their successor.
    """

    concepts: list[Concept]
    replaced: dict[str, str] = field(default_factory=dict)

    def languages(self) -> list[str]:
        """The languages of preferred labels, without the regions behind them."""
        found = {own.partition("-")[0] for c in self.concepts for own, _ in c.preferred}
        return sorted(found - {""})


def _is_of(own: str, wanted: str) -> bool:
    return own == wanted or (wanted != "" and own.startswith(f"{wanted}-"))


def clean_uri(uri: str) -> str:
    """The URI without angle brackets around it."""
    uri = uri.strip()
    return uri[1:-1] if uri.startswith("<") and uri.endswith(">") else uri


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary of any of the formats, by its suffix."""
    suffix = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix == ".tsv":
        vocabulary = Vocabulary(_read_tsv(path))
    elif suffix == ".csv":
        vocabulary = Vocabulary(_read_csv(path))
    elif suffix in _RDF:
        vocabulary = _read_skos(path, _RDF[suffix])
    else:
        raise ValueError(
            f"vocabulary is {str(path)!r}, whose suffix is none of .tsv, .csv, {', '.join(_RDF)}; "
            "rename or convert it."
        )
    if not vocabulary.concepts:
        raise ValueError(f"{path} has no concept that is in use; pass a vocabulary.")
    return vocabulary


def _read_tsv(path: Path) -> list[Concept]:
    """A URI, a label and perhaps a notation a line; a URI alone is a deprecated concept."""
    concepts, places = [], []
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        uri, *rest = line.split("\t")
        uri = clean_uri(uri)
        if not uri or any(map(str.isspace, uri)) or len(rest) > 2:
            raise ValueError(
                f"line {number} of {path} is not a URI, a tab and a label; correct it."
            )
        if rest and rest[0].strip():
            concepts.append(Concept(uri, [("", rest[0].strip())]))
            places.append(number)
    check_distinct([concept.uri for concept in concepts], "lines", places, path)
    return concepts


def _read_csv(path: Path) -> list[Concept]:
    """Columns ``uri`` and ``label_<language>``; no label at all is a deprecated concept."""
    rows = delimited_rows(path)
    _, names = next(rows)
    languages = {
        name: name.removeprefix(_LABEL_COLUMN).lower()
        for name in names
        if name.startswith(_LABEL_COLUMN)
    }
    if "uri" not in names or not languages:
        raise ValueError(f"{path} has the columns {names}; it needs uri, and label_en or so.")
    concepts, places = [], []
    for number, cells in rows:
        row = dict(zip(names, cells, strict=True))
        uri = clean_uri(row["uri"])
        if not uri:
            raise ValueError(f"line {number} of {path} has no URI; add it.")
        labels = [(language, row[name].strip()) for name, language in languages.items()]
        labels = [(language, label) for language, label in labels if label]
        if labels:
            concepts.append(Concept(uri, labels))
            places.append(number)
    check_distinct([concept.uri for concept in concepts], "lines", places, path)
    return concepts


def _read_skos(path: Path, form: str) -> Vocabulary:
    rdflib = import_optional("rdflib", "annif")
    from rdflib.namespace import DCTERMS, OWL, RDF, RDFS, SKOS

    graph = rdflib.Graph()
    content = b"\n".join(byte_lines(path))
    try:
        graph.parse(data=content, format=form)
    except Exception as error:  # its parsers raise nearly anything on damaged files
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is not RDF in {form} ({message}); correct it.") from None

    def labels(node, *properties) -> list[tuple[str, str]]:
        return [
            label for name in properties for label in sorted(_tagged(graph.objects(node, name)))
        ]

    concepts, replaced = {}, {}
    for node in sorted(set(graph.subjects(RDF.type, SKOS.Concept)), key=str):
        if any(_is_true(value) for value in graph.objects(node, OWL.deprecated)):
            successors = sorted(map(str, graph.objects(node, DCTERMS.isReplacedBy)))
            if successors:
                replaced[str(node)] = successors[0]
            continue
        broader = {str(other) for other in graph.objects(node, SKOS.broader)}
        broader |= {str(other) for other in graph.subjects(SKOS.narrower, node)}
        concepts[str(node)] = Concept(
            str(node),
            labels(node, SKOS.prefLabel) or labels(node, RDFS.label),
            labels(node, SKOS.altLabel),
            sorted(broader),
        )
    return Vocabulary(list(concepts.values()), replaced)


def _tagged(literals: Iterable) -> Iterator[tuple[str, str]]:
    for literal in literals:
        text = str(literal).strip()
        if text:
            yield (getattr(literal, "language", None) or "").lower(), text


def _is_true(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1")
