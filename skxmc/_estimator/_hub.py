"""Models on the Hugging Face hub, and what a model says of itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._persistence import skxmc_version

# Where models of the hub are kept, below the hub's own cache. Its links are no closed folder.
_PLACE = "skxmc"

# Names of labels that a card shows.
_SHOWN = 10

_CARD = """---
library_name: skxmc
tags:
- extreme-multi-label-classification
- text-classification
pipeline_tag: text-classification
---

# {title}

{description}A model of skxmc {version}: it ranks {n_labels:,} labels for a text{pictures}.

```python
from skxmc import {name}

clf = {name}.from_pretrained({repo_id!r})
labels, probabilities = clf.predict_topk(["a text"], k=5, return_labels=True)
```

## Training data

| | |
|---|---|
| documents | {n_documents:,}, of which {n_empty:,} have no label |
| labels a document | {per_document:.1f} on average |
| labels | {n_labels:,}, of which {n_unseen:,} have no document |
| first labels | {labels} |

## How it ranks

| evidence | share |
|---|---|
{evidence}

Probabilities were calibrated on {n_calibrated:,} held-out documents. `predict` gives labels above
a probability of {threshold}.

## Figures

{metrics}

## Parameters

```python
{parameters}
```
"""


class HubMixin:
    """Sharing a fitted estimator, which can be saved."""

    def model_card(
        self,
        *,
        repo_id: str = "user/model",
        metrics: Mapping[str, float] | None = None,
        description: str = "",
    ) -> str:
        """A description of the fitted model in Markdown, with the metadata that the hub reads.

        Parameters
        ----------
        repo_id : str, default="user/model"
            Name of the model on the hub.
        metrics : mapping of str to float, default=None
            Figures on a test set of yours, such as those of :func:`skxmc.metrics.xmc_report`.
        description : str, default=""
            What the model is for, what its documents are, and where it should not be used.

        Returns
        -------
        card : str
            The text of a ``README.md``.
        """
        check_is_fitted(self)
        ranker = self.ranker_
        n_documents = len(ranker.rows_)
        names = [str(name) for name in self.classes_[:_SHOWN].tolist()]
        if len(self.classes_) > _SHOWN:
            names.append("...")
        pictures = " and its pictures" if self.featurizer_.whitener is not None else ""
        weights = ranker.mixture_.weights_
        evidence = [f"| {kind} | {weights.get(kind, 0):.2f} |" for kind in self.evidence_]
        threshold = (
            f"{self.threshold_:.3f}"
            if np.ndim(self.threshold_) == 0
            else "their own for each label"
        )
        return _CARD.format(
            title=repo_id.rpartition("/")[-1],
            description=description.strip() + "\n\n" if description.strip() else "",
            version=skxmc_version(),
            name=type(self).__name__,
            repo_id=repo_id,
            pictures=pictures,
            n_documents=n_documents,
            n_empty=ranker.n_empty_,
            per_document=ranker.Y_.nnz / max(1, n_documents),
            n_labels=len(self.classes_),
            n_unseen=int(np.count_nonzero(ranker.counts_ == 0)),
            labels=", ".join(name.replace("|", "\\|") for name in names),
            evidence="\n".join(evidence),
            n_calibrated=ranker.calibrator_.n_documents_,
            threshold=threshold,
            metrics=_table(metrics),
            parameters=repr(self),
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        description: str = "",
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload a model of skxmc",
    ) -> str:
        """Upload the fitted model to the Hugging Face hub, with a card that describes it.

        Parameters
        ----------
        repo_id : str
            Name of the model, ``"user/model"``; made if it does not exist.
        metrics, description
            As in :meth:`model_card`.
        private : bool, default=None
            Whether nobody else may see it; None does as the account says.
        revision : str, default=None
            Branch; None is the main one.
        token : str or bool, default=None
            As in ``huggingface_hub``; None takes that of ``hf auth login``.
        commit_message : str
            What the history says.

        Returns
        -------
        url : str
            Address of the commit.
        """
        check_is_fitted(self)
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "model")
            self.save(folder)
            card = self.model_card(repo_id=repo_id, metrics=metrics, description=description)
            (folder / "README.md").write_text(card, encoding="utf-8")
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                delete_patterns=["*"],  # else parts of an older model would stay
            )
        return str(commit.commit_url)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        **options: Any,
    ) -> Self:
        """Load a model from the Hugging Face hub, or from a folder.

        Parameters
        ----------
        name : str or path-like
            ``"user/model"``, or a folder that :meth:`save` wrote.
        revision : str, default=None
            Branch, tag or commit; None is the main branch. A commit is what nobody can change.
        token : str or bool, default=None
            As in ``huggingface_hub``.
        cache_dir : path-like, default=None
            Where downloaded models are kept; None takes a folder in the hub's cache.
        **options
            As in :meth:`load`.

        Returns
        -------
        estimator : ViXMLClassifier or DecoderXMCClassifier
            The class that this is called on.

        Notes
        -----
        A model runs no code from the hub, and is checked as any folder is: :ref:`security`.
        """
        if Path(name).expanduser().is_dir():
            return cls.load(name, **options)
        from huggingface_hub import constants, snapshot_download

        place = Path(constants.HF_HUB_CACHE, _PLACE) if cache_dir is None else Path(cache_dir)
        folder = place / "--".join([*str(name).split("/"), revision or "main"])
        snapshot_download(str(name), revision=revision, token=token, local_dir=folder)
        return cls.load(folder, **options)


def _table(metrics: Mapping[str, float] | None) -> str:
    if not metrics:
        return "None were given."
    rows = [f"| {name} | {float(value):.4f} |" for name, value in metrics.items()]
    return "\n".join(["| metric | value |", "|---|---|", *rows])
