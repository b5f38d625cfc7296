"""
Labels with definitions, and not one labelled document
======================================================

A taxonomy has names and definitions for its labels, but nobody has labelled documents with it yet.
Here the labels are skills, and the documents are sentences of job adverts, which often mention
several skills.

:func:`~skxmc.datasets.documents_from_labels` makes training documents of the definitions, and
:class:`~skxmc.evidence.TokenMatching` compares single words of a sentence with each label, and
:class:`~skxmc.evidence.LexicalMatching` looks for the label's own words in the sentence.
"""

# %%
# The labels
# ----------
# For each skill its name, other names, and a definition.

import matplotlib.pyplot as plt
import numpy as np

from skxmc import ViXMLClassifier
from skxmc.datasets import documents_from_labels
from skxmc.evidence import LexicalMatching, TokenMatching
from skxmc.inspection import ExplanationDisplay
from skxmc.metrics import rp_at_k

SKILLS = {
    "SQL": ["database queries", "Write statements that fetch and change rows of tables."],
    "Python": ["scripting", "Write programs in a language that is read line by line."],
    "machine learning": ["predictive models", "Let a computer find rules in examples."],
    "data visualisation": ["charts", "Draw numbers so that people see what they say."],
    "cloud hosting": ["AWS, Azure", "Run software on rented servers of a provider."],
    "software testing": ["quality assurance", "Find faults in a program before users do."],
    "project planning": ["schedules", "Decide who does what until when."],
    "budgeting": ["cost control", "Say what will be spent, and watch that it is not more."],
    "negotiation": ["bargaining", "Reach an agreement that both sides accept."],
    "public speaking": ["presentations", "Talk to an audience and keep it listening."],
    "customer service": ["client support", "Answer questions and complaints of buyers."],
    "team leadership": ["supervise staff", "Guide a group of people at work."],
    "recruiting": ["hire personnel", "Find and choose new employees."],
    "bookkeeping": ["ledgers", "Record each payment and invoice of a firm."],
    "first aid": ["emergency care", "Help an injured person until a doctor comes."],
    "welding": ["join metal", "Melt pieces of steel together."],
    "driving lorries": ["transport goods", "Bring freight over roads in heavy vehicles."],
    "cooking": ["prepare meals", "Make dishes from raw food."],
    "translation": ["foreign languages", "Say a text in another tongue without changing it."],
    "copywriting": ["advertising texts", "Write words that make people buy."],
}
label_text = {name: [name, *texts] for name, texts in SKILLS.items()}

SENTENCES = {
    "You query our PostgreSQL tables and show the results in dashboards.": [
        "SQL", "data visualisation"],
    "You train neural networks and deploy them on Azure.": ["machine learning", "cloud hosting"],
    "You lead a group of ten and interview candidates for new positions.": [
        "team leadership", "recruiting"],
    "Experience with pandas and with automated tests is a plus.": ["Python", "software testing"],
    "You handle complaints of our clients by phone.": ["customer service"],
    "You keep track of expenses and report to the finance department.": ["budgeting"],
    "You post invoices and present the figures to the board.": ["bookkeeping", "public speaking"],
    "You deliver parcels with a 12 tonne truck.": ["driving lorries"],
    "You work in the kitchen of our restaurant and know what to do if a guest is hurt.": [
        "cooking", "first aid"],
    "You draft slogans in English and German.": ["copywriting", "translation"],
    "You set milestones and close contracts with suppliers.": ["project planning", "negotiation"],
    "You repair steel frames with a torch.": ["welding"],
}  # fmt: skip
sentences, truth = list(SENTENCES), list(SENTENCES.values())

# %%
# Documents made of labels
# ------------------------
# Each text of a label is a document. Joined with a text of another label, in front of it or behind
# it, it looks more like a sentence that mentions two skills. Whoever has a language model passes
# ``generate=``, a function from the texts of a label to sentences; sentences that do not lead back
# to their label are dropped. Text around skills is part of every advert, and fits none of them.

OTHER = [
    "We offer flexible hours and a salary above average.",
    "Our office is in the centre of the town.",
    "Founded in 1990, we are a family of 200 colleagues.",
    "Please send your documents by the end of the month.",
]
X, y = documents_from_labels(label_text, n_joined=2, unlabelled=OTHER, random_state=0)
print(len(X), "documents, such as:")
print(f"{X[-5]!r}: {y[-5]}")

# %%
# Two models
# ----------
# The usual evidence compares a sentence as a whole. Matching lets the words that are most like a
# skill speak for it. Weights are given here: held-out definitions would choose them, and a
# definition is of one skill, so what suits definitions need not suit sentences.

matching = [TokenMatching(weight=0.7), LexicalMatching(weight=0.3)]
models = {}
for name, evidence in {"usual": None, "matching": matching}.items():
    models[name] = ViXMLClassifier(
        train_encoder="frozen", label_text=label_text, evidence=evidence, random_state=0
    ).fit(X, y)

scores = {}
for name, model in models.items():
    found = model.predict_topk(sentences, k=5)
    scores[name] = rp_at_k(truth, found, k=[1, 2, 3, 5], classes=model.classes_)
    print(name, np.round(scores[name], 2))

fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
for name, values in scores.items():
    ax.plot([1, 2, 3, 5], values, marker="o", label=name)
ax.set(xlabel="k", ylabel="R-precision at k", ylim=(0, 1), xticks=[1, 2, 3, 5])
ax.legend(frameon=False)
plt.show()

# %%
# Which words speak for a label
# -----------------------------

model = models["matching"]
for one in model.explain([sentences[0]], k=3, n_words=3)[0]:
    print(one.label, [(word, round(amount, 1)) for word, amount in one.matches])
    print("    its own words:", [(word, round(amount, 1)) for word, amount in one.words])

ExplanationDisplay.from_estimator(model, sentences, row=0, k=3, n_nearest=0)
plt.show()
