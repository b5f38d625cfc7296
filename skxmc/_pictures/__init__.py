"""Frozen models that make one vector of a picture; they need torch, so estimators import late."""
