"""
A threshold for a wanted precision
==================================

Tags that nobody checks have to be right. A model does not have to answer every document, though:
what it is not sure of can go to a person. How many documents can be answered if four of five
answers are to be right?
"""

# %%
# Three sets of icons
# -------------------
# One to learn from, one to choose the threshold on, one to see whether it holds. The icons are
# those of Font Awesome Free 6 (CC BY 4.0, https://fontawesome.com); variants of one icon stay
# together.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from skxmc import ViXMLClassifier
from skxmc.datasets import load_fontawesome
from skxmc.inspection import PrecisionCoverageDisplay, PredictionGalleryDisplay
from skxmc.metrics import coverage_at_precision, precision_at_k

icons = load_fontawesome()
splitter = GroupShuffleSplit(1, test_size=0.25, random_state=0)
train, chosen_on = next(splitter.split(icons.text_train, groups=icons.groups_train))


def take(rows):
    texts = [icons.text_train[row] for row in rows]
    images = [icons.images_train[row] for row in rows]
    return texts, icons.Y_train[rows], images, icons.exclude_train[rows]


texts, Y, images, exclude = take(train)
clf = ViXMLClassifier(label_text=icons.label_text, train_encoder="frozen", random_state=0)
clf.fit(texts, Y, images=images, exclude=exclude)
sizes = (len(train), len(chosen_on), len(icons.text_test))
print("{} icons to learn from, {} to choose on, {} to check on".format(*sizes))

# %%
# The threshold
# -------------
# An answer is the best label. Documents are answered from the one with the highest score
# downwards, and :func:`~skxmc.metrics.coverage_at_precision` says how far one can go, and which
# score that is.

WANTED = 0.8

texts, Y, images, exclude = take(chosen_on)
predictions = clf.predict_topk(texts, k=5, images=images, exclude=exclude)
coverage, threshold = coverage_at_precision(Y, predictions, precision=WANTED, exclude=exclude)
print(f"{coverage:.0%} of the icons can be answered: those with a score of {threshold:.3f} or more")

# %%
# The whole curve shows what a higher or a lower precision would cost. Its left end rests on a few
# icons and jumps with each of them; it says nothing about the precision of new answers.

_ = PrecisionCoverageDisplay.from_predictions(Y, predictions, precision=WANTED, exclude=exclude)

# %%
# Does it hold?
# -------------
# On icons that had no say in it:

labels, scores = clf.predict_topk(
    icons.text_test, k=5, images=icons.images_test, exclude=icons.exclude_test
)
answered = scores[:, 0] >= threshold
precision = precision_at_k(
    icons.Y_test, labels, k=1, exclude=icons.exclude_test, sample_weight=answered.astype(float)
)
error = np.sqrt(precision * (1 - precision) / answered.sum())
print(f"{answered.mean():.0%} answered, precision {precision:.3f} (standard error {error:.3f})")

# %%
# The precision of a threshold is an estimate: it was chosen on less than two hundred answers, and
# checked on as few. Where a promise has to be kept, choose for a somewhat higher precision, or on
# more documents.
#
# Labels without asking
# ---------------------
# ``predict`` gives every label above ``threshold_``, several or none for a document. ``fit`` chose
# it for the best F1 of all pairs, which is another aim: it answers nearly everything.


def describe(threshold):
    clf.threshold_ = threshold
    found = clf.predict(icons.text_test, images=icons.images_test, exclude=icons.exclude_test)
    right = found.multiply(icons.Y_test).sum() / found.sum()
    answered = np.mean(np.diff(found.indptr) > 0)
    print(f"above {threshold:.3f}: {found.sum():4.0f} labels, {right:.0%} of them right, ", end="")
    print(f"for {answered:.0%} of the icons")


describe(clf.threshold_)
describe(threshold)

# %%
# The new threshold stays with the model, also when it is saved. To have it from the start, pass it
# as a parameter: ``ViXMLClassifier(threshold=...)``.
#
# What would be asked
# -------------------
# The twelve test icons that the model is least sure of: these go to a person.

_ = PredictionGalleryDisplay.from_predictions(
    icons.Y_test,
    (labels, scores),
    texts=icons.text_test,
    images=icons.images_test,
    label_names=clf.classes_,
    exclude=icons.exclude_test,
    rows=np.argsort(scores[:, 0])[:12],
)
plt.show()
