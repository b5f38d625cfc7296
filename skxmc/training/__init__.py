"""Label vectors, clustering and centroids."""
