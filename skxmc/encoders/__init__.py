"""Towers for texts and pictures; they need torch, so estimators import them late."""
