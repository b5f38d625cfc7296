"""Losses, prototypes, label vectors, batches and the trainer; PyTorch lives here."""
