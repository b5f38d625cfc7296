"""Pipelines whose last step ranks labels."""

from ._pipeline import XMCPipeline, make_pipeline

__all__ = ["XMCPipeline", "make_pipeline"]
