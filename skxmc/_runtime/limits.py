"""Numbers of labels or documents above which something is done another way."""

from __future__ import annotations

# Rows that are read or computed at a time, where all at once would need a copy of all.
ROWS = 65_536

# Pictures that are encoded between two writings to `memory`.
PICTURES = 8192

# Up to this number of labels, each is a negative of every document that label vectors learn from.
# Above, a batch draws some of those that none of its documents has. Icons (6,042 labels) lose
# 0.003 of PSP@5 by it, nothing of P@1, and label vectors take 0.42 of the time.
MAX_FULL_SOFTMAX = 4096

# The same of a linear head above an encoder that is tuned, whose steps take longer anyway.
MAX_ALL_NEGATIVES = 65_536

# Most free vectors of prototypes; with more labels, similar ones share a vector.
MAX_FREE_VECTORS = 65_536

# Above this number of labels, label vectors re-score the shortlist of the other evidence
# instead of scoring all labels: a block of scores would take more than a gigabyte.
MAX_DENSE_LABELS = 131_072

# Up to this number of labels, token matching scores all of them. Above, it looks for those that
# are near to single tokens.
MAX_MATCHED_LABELS = 32_768

# Above this number of labels or documents they are compared without words, which more than triple
# an index. Above this number of labels, label vectors see no words either, and are stored short.
MAX_WORD_VECTORS = 131_072

# Up to this number of labels or documents everything is built a second time, with the held-out
# documents. Above, they join the neighbours alone: building takes most of the time then.
MAX_REBUILT = 500_000

# Most bytes of the words of documents, brought to few numbers, that are kept while label vectors
# are trained. More are made again in each pass.
MAX_PROJECTED = 2**28
