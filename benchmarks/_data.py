"""Data sets by name, and synthetic texts where only numbers and lengths count."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from skxmc.datasets import (
    documents_from_labels,
    load_fontawesome,
    load_xmc_folder,
    load_xmc_repository,
)

# Environment variable with the folder of the data sets.
FOLDER = "SKXMC_BENCHMARK_DATA"
# Distinct words of the synthetic texts; a word has two or more syllables, each a word piece.
N_WORDS = 100_000
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]


def add_data(parser: argparse.ArgumentParser, default: str, several: bool = False) -> None:
    """Add the options that name a data set."""
    parser.add_argument(
        "--data",
        nargs="+" if several else None,
        default=[default] if several else default,
        metavar="NAME",
        help="folder below --folder, or 'fontawesome', which is built from a package; "
        "'fontawesome:1' is another split of it, 'esco:val_house' has the folder's documents "
        "val_house in place of the test documents",
    )
    parser.add_argument(
        "--folder",
        default=os.environ.get(FOLDER),
        help=f"where the data sets are; without it the environment variable {FOLDER}",
    )


def load(name: str, folder: str | None) -> Bunch:
    """Load the quick-start set by the name "fontawesome", or a folder of that name.

    The folder is one of skxmc's own layout or of a public benchmark.

    "fontawesome:1" is the quick-start set with its split of `random_state` 1, "esco:val_house" the
    folder "esco" with the documents of its split "val_house" in place of the test documents.
    """
    name, _, split = name.partition(":")
    if name == "fontawesome":
        return load_fontawesome(random_state=int(split or 0))
    if folder is None:
        raise SystemExit(
            f"--data {name} is a folder, but nothing says where it is; pass --folder or set "
            f"{FOLDER}, or take --data fontawesome, which is built from an installed package."
        )
    path = Path(folder) / name
    if not path.is_dir():
        raise SystemExit(f"there is no folder {path}; --folder must name the folder above it.")
    load_folder = load_xmc_folder if (path / "labels.jsonl.gz").is_file() else load_xmc_repository
    data = load_folder(path)
    if split:
        if split not in data.splits:
            raise SystemExit(f"{path} has no split {split!r}, but {sorted(data.splits)}")
        data.update({f"{field}_test": value for field, value in data.splits[split].items()})
    return data


def join_training_documents(data: Bunch, seed: int) -> Bunch:
    """The training documents, and each of them joined with one of another label.

    It is for data sets whose training documents are texts of labels, such as definitions.
    """
    texts: dict[int, list[str]] = {}
    rows, labels = data.Y_train.nonzero()
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        texts.setdefault(label, []).append(data.text_train[row])
    X, y = documents_from_labels(texts, random_state=seed)
    rows = np.repeat(np.arange(len(X)), [len(own) for own in y])
    pairs = (rows, np.concatenate(y))
    shape = (len(X), data.Y_train.shape[1])
    Y = sp.csr_array((np.ones(len(rows), dtype=np.float32), pairs), shape=shape)
    return Bunch(**{**data, "text_train": X, "Y_train": Y, "exclude_train": None})


def texts_of_words(texts: Sequence[str], n: int, n_words: int = 10, seed: int = 0) -> list[str]:
    """Texts of so many words, drawn as often as they are in the given texts."""
    counts = Counter(word for text in texts for word in text.split())
    words = np.array(list(counts))
    shares = np.array(list(counts.values())) / counts.total()
    drawn = np.random.default_rng(seed).choice(words, size=(n, n_words), p=shares)
    return [" ".join(row) for row in drawn.tolist()]


def titles(n: int, n_words: int, rng: np.random.Generator) -> list[str]:
    """Short texts of `n_words` words on average, the words drawn by Zipf's law."""
    weights = np.cumsum(1.0 / (np.arange(N_WORDS) + 2.7))
    lengths = 1 + rng.poisson(n_words - 1, size=n)
    ranks = np.searchsorted(weights, rng.random(int(lengths.sum())) * weights[-1])
    vocabulary = [_word(rank) for rank in range(N_WORDS)]
    ends = np.cumsum(lengths)
    return [
        " ".join([vocabulary[rank] for rank in ranks[end - length : end]])
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def targets(n: int, n_labels: int, positives: float, rng: np.random.Generator) -> sp.csr_array:
    """Targets, csr (n, n_labels) float32, in which both sides have a power law.

    A document has `positives` labels on average before repeated ones fall together, at most 100;
    label number r is drawn with a probability proportional to the root of 1 / r.
    """
    counts = 1 + ((positives - 0.5) * (rng.random(n) ** -0.5 - 1)).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, min(100, n_labels)))])
    labels = (n_labels * rng.random(indptr[-1]) ** 2).astype(np.int32)
    Y = sp.csr_array((np.ones(len(labels), np.float32), labels, indptr), shape=(n, n_labels))
    Y.sum_duplicates()
    Y.data[:] = 1
    return Y


def tiny_encoder(folder: Path, width: int = 64, layers: int = 2) -> str:
    """Write a random BERT of few layers, which knows all syllables; its folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*letters, *SYLLABLES]
    vocabulary = {
        piece: i for i, piece in enumerate([*special, *pieces, *(f"##{piece}" for piece in pieces)])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()}
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)


def _word(rank: int) -> str:
    base = len(SYLLABLES)
    syllables = [SYLLABLES[rank % base], SYLLABLES[rank // base % base]]
    if rank >= base**2:
        syllables.append(SYLLABLES[rank // base**2])
    return "".join(syllables)
