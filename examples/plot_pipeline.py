"""
A pipeline that cleans text first
=================================

Texts rarely come as one would like them. Where cleaning is a step of a
:class:`~sklearn.pipeline.Pipeline`, whatever is fitted, measured, searched or saved is cleaned in
the same way, and nobody can forget it.
"""

# %%
# File names instead of names
# ---------------------------
# The icons of Font Awesome Free 6 (CC BY 4.0, https://fontawesome.com) have tidy names. To have
# something to clean, we make file names of them, as a folder of downloads might hold.

import html
import re

import matplotlib.pyplot as plt
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxmc import ViXMLClassifier
from skxmc.datasets import load_fontawesome
from skxmc.inspection import PredictionGalleryDisplay
from skxmc.metrics import xmc_scores

icons = load_fontawesome()


def as_file_names(names):
    return [f"fa-solid_{name.replace(' ', '-').upper()}&nbsp;(1)@2x.svg" for name in names]


files_train, files_test = as_file_names(icons.text_train), as_file_names(icons.text_test)
print(files_train[7])

# %%
# A function is enough
# --------------------
# Whatever maps a list of texts to a list of texts can stand in front. This one undoes HTML, and
# drops what is the same in all names.


def clean(texts):
    cleaned = []
    for text in texts:
        text = html.unescape(text).lower()
        text = re.sub(r"^fa-solid_|\(\d+\)|@\dx|\.svg$", " ", text)
        cleaned.append(" ".join(re.sub(r"[-_]", " ", text).split()))
    return cleaned


print(clean(files_train[7:8]))

# %%
# The pipeline
# ------------
# Pictures and filter pairs are metadata. With routing switched on, each step says once what it
# wants, and the pipeline passes it on.

sklearn.set_config(enable_metadata_routing=True)

wants = {"images": True, "exclude": True}
clf = ViXMLClassifier(label_text=icons.label_text, train_encoder="frozen", random_state=0)
clf.set_fit_request(**wants).set_predict_request(**wants).set_score_request(**wants)
cleaning = make_pipeline(FunctionTransformer(clean), clf)

train = {"images": icons.images_train, "exclude": icons.exclude_train}
test = {"images": icons.images_test, "exclude": icons.exclude_test}
cleaning.fit(files_train, icons.Y_train, **train)

# %%
Y = cleaning.predict(files_test, **test)
print(f"{Y.sum():.0f} labels for {Y.shape[0]} icons")

# %%
# Is it worth it?
# ---------------
# The scorers of :mod:`skxmc.metrics` find their way through the steps of a pipeline, and so do the
# displays. The same estimator without cleaning, and on the tidy names that
# cleaning should bring back:

scorer = xmc_scores(ks=(1, 5), metrics=["precision", "psprecision"])


def show(name, estimator, texts):
    figures = scorer(estimator, texts, icons.Y_test, **test)
    print(f"{name:12}" + "".join(f"{key:>18} {value:.3f}" for key, value in figures.items()))


show("cleaned", cleaning, files_test)
show("as it is", clone(clf).fit(files_train, icons.Y_train, **train), files_test)
show("tidy names", clone(clf).fit(icons.text_train, icons.Y_train, **train), icons.text_test)

# %%
# Cleaning brings back the figures of the tidy names. Without it the model does not fail: the noise
# is the same in all documents, and it still reads the words behind it, but not as well, which
# costs most on rare tags (PSP).
#
# Some answers
# ------------
# The display, too, sends file names through the whole pipeline.

_ = PredictionGalleryDisplay.from_estimator(
    cleaning, files_test, icons.Y_test, **test, k=4, n_documents=6, random_state=1
)
plt.show()
