from .._centroids import label_centroids, untuned_prototypes  # noqa: F401
