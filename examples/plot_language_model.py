"""
Tuning a language model
=======================

:class:`~skxmc.DecoderXMCClassifier` reads documents with a language model
(:ref:`user guide <decoder>`). Here it is SmolLM2, small enough for a CPU with its 135 million
weights. It sees names and drawings of icons twice: as it was published, and tuned with low-rank
adapters (LoRA).
"""

# %%
# The task
# --------
# Search terms for icons of Font Awesome Free 6 (CC BY 4.0, https://fontawesome.com). Pairs in which
# the term is the name itself are left out.

import tempfile
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from skxmc import DecoderXMCClassifier, estimate_memory
from skxmc.datasets import load_fontawesome
from skxmc.inspection import PredictionGalleryDisplay, TrainingHistoryDisplay
from skxmc.metrics import label_propensities, xmc_report

icons = load_fontawesome()
print(f"{len(icons.text_train)} training icons, {len(icons.text_test)} test icons,")
print(f"{len(icons.label_text)} tags")

# %%
# Frozen, and with adapters
# -------------------------
# The two models differ in ``train_encoder`` alone. Frozen, the language model turns texts into
# vectors; what is learned on them are prototypes, label vectors and the mixture, as everywhere in
# skxmc. The drawings stand beside these vectors. With adapters, two thin matrices beside each one
# of the language model are trained, together with prototypes of the tags and a linear head over
# them, and every drawing is one more token among those of the prompt.
#
# ``memory`` keeps what both models need: the vectors of the drawings, and the texts' embeddings
# before tuning. Two epochs are a quarter of the default, for a page that is soon built; the user
# guide has the figures of eight.

folder = tempfile.TemporaryDirectory()
frozen = DecoderXMCClassifier(
    label_text=icons.label_text,
    train_encoder="frozen",
    epochs=2,
    memory=folder.name,
    random_state=0,
)
tuned = clone(frozen).set_params(train_encoder="lora")

# %%
# What tuning will take
# ---------------------
# Most of it are the graphs of a batch, which ``Training(max_graph_memory=...)`` bounds. The
# adapters are small; that is the point of them.

print(estimate_memory(tuned, icons.text_train, icons.Y_train, images=icons.images_train))

# %%
# Fitting
# -------

models = {"frozen": frozen, "tuned": tuned}
rankings, seconds = {}, {}
for name, model in models.items():
    started = time.perf_counter()
    model.fit(
        icons.text_train,
        icons.Y_train,
        images=icons.images_train,
        exclude=icons.exclude_train,
    )
    rankings[name] = model.predict_topk(
        icons.text_test, k=5, images=icons.images_test, exclude=icons.exclude_test
    )
    seconds[name] = time.perf_counter() - started

# %%
# The gain
# --------
# P\@k is the share of right tags among the k best; PSP\@k lets a rare tag count more. Seconds are
# for fitting and predicting, with loading the weights.

columns = {
    "P@1": "precision_at_1",
    "P@3": "precision_at_3",
    "P@5": "precision_at_5",
    "nDCG@5": "ndcg_at_5",
    "PSP@5": "psprecision_at_5",
}
print(f"{'':8}" + "".join(f"{name:>8}" for name in columns) + f"{'seconds':>9}")
for name, ranking in rankings.items():
    report = xmc_report(
        icons.Y_test,
        ranking,
        k=(1, 3, 5),
        propensities=label_propensities(icons.Y_train),
        exclude=icons.exclude_test,
    )
    figures = "".join(f"{report[column]:8.3f}" for column in columns.values())
    print(f"{name:8}{figures}{seconds[name]:9.1f}")

# %%
# A P\@1 on 283 icons is uncertain by 0.03 (one standard error). But both models were asked about
# the same icons, and their difference is more certain than either figure: what counts are the
# icons on which they disagree.

truth = icons.Y_test.toarray() > 0
rows = np.arange(len(truth))
right = {name: truth[rows, labels[:, 0]] for name, (labels, _) in rankings.items()}
gained = np.sum(right["tuned"] & ~right["frozen"])
lost = np.sum(right["frozen"] & ~right["tuned"])
print(f"The first tag has become right for {gained} icons, and wrong for {lost}.")

# %%
# Training
# --------
# The loss is the mean over an epoch, the learning rate that of its end.

_ = TrainingHistoryDisplay.from_estimator(tuned)

# %%
# Some test icons
# ---------------
# Drawn at random, with the tuned model's five best tags. A tick marks those that the icon has;
# many a tag without one would fit as well.

_ = PredictionGalleryDisplay.from_estimator(
    tuned,
    icons.text_test,
    icons.Y_test,
    images=icons.images_test,
    exclude=icons.exclude_test,
    label_names=icons.label_text,
    random_state=0,
)

# %%
# What to keep
# ------------
# ``tuned.save(path)`` writes the adapters with the name and hash of the language model, which need
# not be stored again. ``tuned.merge_adapter()`` folds them into its weights, for serving. Larger
# models take no other code: pass their name as ``encoder``, and see the :ref:`user guide <decoder>`
# for what fits where.

plt.show()
