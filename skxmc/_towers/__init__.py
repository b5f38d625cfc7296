"""Towers: texts with images to embeddings; they need torch, so estimators import them late."""
