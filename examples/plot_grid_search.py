"""
Grid search over text and pictures
==================================

What should the model see of a text? Do the drawings help? Such questions are parameters, and
:class:`~sklearn.model_selection.GridSearchCV` answers them on the training set, several metrics at
once, without a look at the test set.
"""

# %%
# A table of texts and pictures
# -----------------------------
# In a DataFrame a document keeps its picture wherever a splitter sends it. The icons are those of
# Font Awesome Free 6 (CC BY 4.0, https://fontawesome.com).

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from sklearn.model_selection import GridSearchCV, GroupKFold

from skxmc import ViXMLClassifier
from skxmc.datasets import load_fontawesome
from skxmc.metrics import xmc_scores

icons = load_fontawesome()
train = pd.DataFrame({"text": icons.text_train, "image": icons.images_train})
test = pd.DataFrame({"text": icons.text_test, "image": icons.images_test})
print(train.head(3))

# %%
# The grid
# --------
# ``text_features`` says what the label vectors see of a text. A column of pictures that does not
# exist leaves them out. ``memory`` keeps the picture vectors, so that each drawing goes through
# the image encoder once and not once a fit.

folder = tempfile.TemporaryDirectory()
clf = ViXMLClassifier(
    label_text=icons.label_text, train_encoder="frozen", memory=folder.name, random_state=0
)
grid = {"text_features": ["embedding", "tfidf", "both"], "image_column": ["image", "(none)"]}

# %%
# The search
# ----------
# :func:`~skxmc.metrics.xmc_scores` computes all figures of a fold from one call of
# ``predict_topk``. Propensities are those of the training fold. Variants of one icon must not stand
# on both sides of a split, hence :class:`~sklearn.model_selection.GroupKFold`. Pairs in which the
# tag is the name itself are left out, in fitting and in scoring: both learn of them by metadata
# routing.

sklearn.set_config(enable_metadata_routing=True)

search = GridSearchCV(
    clf.set_fit_request(exclude=True),
    grid,
    scoring=xmc_scores(ks=(1, 3, 5)).set_score_request(exclude=True),
    refit="precision_at_1",
    cv=GroupKFold(3),
    error_score="raise",
)
search.fit(train, icons.Y_train, exclude=icons.exclude_train, groups=icons.groups_train)
print(search.best_params_)

# %%
# What it found
# -------------
# A point is the mean over the folds, a bar the standard deviation.

results = pd.DataFrame(search.cv_results_)
pictures = results["param_image_column"] == "image"
metrics = {"precision_at_1": "P@1", "precision_at_5": "P@5", "psprecision_at_5": "PSP@5"}

figure, axes = plt.subplots(1, len(metrics), figsize=(9.5, 3.2), layout="constrained", sharey=True)
for ax, (metric, title) in zip(axes, metrics.items(), strict=True):
    for with_pictures, marker, color in ((False, "o", "#E69F00"), (True, "s", "#0072B2")):
        rows = results[pictures == with_pictures]
        ax.errorbar(
            rows[f"mean_test_{metric}"],
            np.arange(len(rows)) + (0.12 if with_pictures else -0.12),
            xerr=rows[f"std_test_{metric}"],
            fmt=marker,
            color=color,
            label="with pictures" if with_pictures else "text only",
        )
    ax.set(xlabel=title)
    ax.set_yticks(range(3), rows["param_text_features"])
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylabel="text_features", ylim=(-0.5, 3))
_ = axes[0].legend(frameon=False, loc="upper left", ncols=2, fontsize="small")

# %%
# The embedding of the encoder beats TF-IDF alone. Both together are about as good as the embedding.
# Drawings raise the means whatever is seen of the text, by no more than the folds spread. All of
# that is measured with a frozen encoder, and has to be asked again for a tuned one.
#
# On the test set
# ---------------
# ``refit`` has fitted the best candidate on all training icons. The search predicts with it; its
# own method is a step away.

best = search.best_estimator_
scores = xmc_scores(ks=(1, 3, 5))(best, test, icons.Y_test, exclude=icons.exclude_test)
print({key: round(value, 3) for key, value in scores.items()})

names, _ = best.predict_topk(test[:3], k=3, exclude=icons.exclude_test[:3], return_labels=True)
for text, tags in zip(test["text"], names, strict=False):
    print(f"{text}: {', '.join(tags)}")

plt.show()
