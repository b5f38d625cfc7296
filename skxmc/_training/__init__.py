"""The loop that trains a tower: steps, batches, checkpoints; nothing of any objective."""
