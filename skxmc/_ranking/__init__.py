"""The ranker: evidence collected, mixed and re-ranked."""
