"""Options of all commands. Nothing here loads more than argparse."""

from __future__ import annotations

import argparse

COMMANDS = {
    "fit": "fit a model on labelled documents and save it in a folder",
    "evaluate": "compare what a saved model predicts with the labels of documents",
    "update": "let a saved model learn more documents, or forget some",
    "predict": "write the labels that a saved model finds for documents",
    "explain": "say why a saved model gives documents their labels",
    "serve": "answer requests over HTTP with a saved model",
    "info": "say what is in the folder of a saved model",
    "images": "download the pictures of a benchmark and write their vectors beside its texts",
}

_DATA = """DATA is a table (.csv, .tsv, .jsonl, .parquet; .gz may follow), a corpus of Annif (with
--vocabulary), a folder of the Extreme Classification Repository or alike, or a folder with
labels.jsonl.gz. Column options are for tables."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the chosen command is `command`."""
    parser = argparse.ArgumentParser(
        prog="skxmc", description="Extreme multi-label classification of texts and pictures."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary}.")
        command.add_argument("--debug", action="store_true", help="show where an error is raised")
        _ADD[name](command)
    return parser


def _add_fit(parser: argparse.ArgumentParser) -> None:
    _add_data(parser, labels=True)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FOLDER", help="where to save the model")
    add("--config", metavar="FILE",
        help="TOML with parameters of the estimator; tables are objects")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="one parameter, such as epochs=3 or objective.kind=prime; repeatable")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="show no progress")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, labels=True)
    add = parser.add_argument
    add("-k", type=_numbers, default=[1, 3, 5], metavar="K,K",
        help="numbers of predictions that count (default: 1,3,5)")  # fmt: skip
    add("--json", action="store_true", help="print JSON and not a table")
    add("-q", "--quiet", action="store_true", help="show no progress")


def _add_update(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, labels=True, nargs="?")
    add = parser.add_argument
    add("-o", "--output", metavar="FOLDER",
        help="where to save the model (default: MODEL, which is replaced as a whole)")  # fmt: skip
    add("--max-documents", type=_positive, metavar="N",
        help="documents that the model keeps; of more, the oldest are forgotten")  # fmt: skip
    add("--remove", metavar="FILE", help="file with the ids of documents to forget, one a line")
    add("-q", "--quiet", action="store_true", help="show no progress")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, labels=False)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FILE",
        help="what to write: .csv, .tsv, .jsonl, .npz (score matrix), .trec or .run")  # fmt: skip
    add("-k", type=_positive, default=5, help="most labels of a document (default: 5)")
    add("--threshold", type=float, metavar="P", help="leave out labels with a lower probability")
    add("-q", "--quiet", action="store_true", help="show no progress")


def _add_explain(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, labels=False)
    add = parser.add_argument
    add("-k", type=_positive, default=3, help="labels of a document (default: 3)")
    add("--nearest", type=_positive, default=3, metavar="N",
        help="most training documents that are named for a label (default: 3)")  # fmt: skip
    add("--words", type=_positive, default=5, metavar="N",
        help="most words that are named for a label (default: 5)")  # fmt: skip
    add("--json", action="store_true", help="print a line of JSON for each document")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    add("--port", type=int, default=8000, help="port to listen on, 0 for any (default: 8000)")
    add("--token-file", metavar="FILE",
        help="file with a token that callers must send; else the variable SKXMC_TOKEN")  # fmt: skip
    add("--name", action="append", metavar="HOST", dest="hosts",
        help="name under which the service may be asked; repeatable")  # fmt: skip
    add("--new-labels", metavar="FILE",
        help="let callers add and remove labels; the file keeps it (default: no)")  # fmt: skip
    add("--feedback", metavar="FILE",
        help="keep documents with labels that callers confirm, for `skxmc update`")  # fmt: skip
    add("--reload", type=float, default=2.0, metavar="SECONDS",
        help="how often to look for a newer save, 0 for never (default: 2)")  # fmt: skip
    add("--limit", action="append", default=[], metavar="NAME=VALUE", dest="limits",
        help="a limit of skxmc.serving.Limits, such as documents=16; repeatable")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="a line a request, without what it holds")


def _add_info(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--json", action="store_true", help="print JSON and not a table")


def _add_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of a benchmark whose texts have ids (trn.json.gz)")
    add("metadata", metavar="METADATA", nargs="+",
        help="ids and addresses: JSON lines (.gz may follow), as of Amazon Reviews 2023, or "
        ".parquet")  # fmt: skip
    add("-o", "--output", metavar="FOLDER",
        help="where to write vectors and maps (default: DATA)")  # fmt: skip
    add("--work", metavar="FOLDER",
        help="where pictures are kept, so that a run can go on "
        "(default: images.work in the output)")  # fmt: skip
    add("--encoder", default="efficientnet-lite0", metavar="MODEL",
        help="what makes vectors, as image_encoder of the estimators takes it "
        "(default: efficientnet-lite0)")  # fmt: skip
    add("--layers", choices=["auto", "last", "all"], default="auto",
        help="layers that a vector is made of (default: auto)")  # fmt: skip
    add("--device", default="auto", help="where to compute (default: auto)")
    add("--max-images", type=_positive, default=3, metavar="N",
        help="most pictures of a document or label (default: 3)")  # fmt: skip
    add("--size", choices=["thumb", "large", "hi_res"], default="large",
        help="which address, where a picture has several (default: large)")  # fmt: skip
    add("--side", type=_positive, default=384, metavar="PIXELS",
        help="largest side of a picture that is kept (default: 384)")  # fmt: skip
    add("--id-column", metavar="NAME", help="where METADATA has ids")
    add("--address-column", metavar="NAME", help="where METADATA has addresses")
    add("--limit", action="append", default=[], metavar="NAME=VALUE", dest="limits",
        help="a limit of skxmc.datasets.DownloadLimits, such as connections=4; "
        "repeatable")  # fmt: skip
    add("--allow-private", action="store_true",
        help="let addresses lead to this machine and into private networks")  # fmt: skip
    add("--retry-failed", action="store_true",
        help="try again what failed for a reason that may have passed")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="show no progress")


_ADD = {
    "fit": _add_fit,
    "evaluate": _add_evaluate,
    "update": _add_update,
    "predict": _add_predict,
    "explain": _add_explain,
    "serve": _add_serve,
    "info": _add_info,
    "images": _add_images,
}


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder of a saved model")
    parser.add_argument("--device", default="auto", help="where to compute (default: auto)")


def _add_data(parser: argparse.ArgumentParser, *, labels: bool, nargs: str | None = None) -> None:
    parser.add_argument("data", metavar="DATA", nargs=nargs, help="documents: a file or a folder")
    group = parser.add_argument_group("documents", _DATA)
    add = group.add_argument
    add("--format", choices=["table", "annif", "repository", "folder"],
        help="what DATA is, where its name does not tell")  # fmt: skip
    add("--split", choices=["train", "test"],
        help="part of a folder that has both (default: train for fit, else test)")  # fmt: skip
    add("--text", default=["text"], type=_names, metavar="COLUMN,COLUMN",
        help="columns with text, joined by blanks (default: text)")  # fmt: skip
    if labels:
        add("--labels", default="labels", metavar="COLUMN",
            help="column with labels (default: labels)")  # fmt: skip
        add("--label-sep", default="|", metavar="TEXT",
            help="what stands between labels (default: |)")  # fmt: skip
    add("--images", metavar="COLUMN",
        help="column with paths of pictures, relative to the folder of DATA")  # fmt: skip
    add("--missing-images", choices=["raise", "warn", "ignore"], default="raise",
        help="what to do about paths that lead nowhere (default: raise)")  # fmt: skip
    add("--id", metavar="COLUMN", help="column with ids of the documents")
    add("--vocabulary", metavar="FILE", help="subject vocabulary of a corpus of Annif")
    add("--language", metavar="CODE", help="language of the vocabulary, such as fi")


def _names(text: str) -> list[str]:
    return text.split(",")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _numbers(text: str) -> list[int]:
    return sorted({_positive(part) for part in text.split(",")})
