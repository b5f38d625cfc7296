"""Transformers below the towers, adapters on them, and where their weights come from."""
