"""Evidence of the nearest vectors: votes, the mixture of evidence, re-ranking."""
