"""PRIME's label prototypes: what a label's text, its cluster and its documents say of it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# Labels whose prototypes are computed at a time.
_ROWS = 8192


class PrototypeNetwork(torch.nn.Module):
    """Fuses a label's embedding, a free vector and its documents' centroid into a prototype.

    For label l with text embedding u_l, cluster c(l) and centroid m_l,

    ``p_l = norm(mean(TransformerLayer([u_l, f_c(l), m_l])))``

    with one post-norm layer (GELU, dropout 0.1, no positions). A label without training
    documents has no centroid, and its prototype is ``norm(u_l)``.

    Parameters
    ----------
    dimension : int
        Width of the encoder.
    clusters : ndarray of shape (n_labels,), int64
        Free vector of each label.
    n_heads : int, default=8
    feedforward : int, default=1024
    free_vectors : ndarray of shape (n_clusters, dimension) or None
        Where the free vectors start; None draws them (Xavier uniform).

    References
    ----------
    PRIME (NAACL 2025, arXiv 2410.20401), Section 3.2.
    """

    def __init__(
        self,
        dimension: int,
        clusters: np.ndarray,
        *,
        n_heads: int = 8,
        feedforward: int = 1024,
        free_vectors: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(
            dimension,
            nhead=math.gcd(dimension, n_heads),
            dim_feedforward=feedforward,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
        )
        self.register_buffer("clusters", torch.as_tensor(clusters, dtype=torch.int64))
        n_clusters = int(clusters.max()) + 1 if len(clusters) else 1
        self.free_vectors = torch.nn.Embedding(n_clusters, dimension, sparse=True)
        if free_vectors is None:
            torch.nn.init.xavier_uniform_(self.free_vectors.weight)
        else:
            self.free_vectors.weight.data.copy_(torch.as_tensor(free_vectors))

    def forward(
        self, embeddings: torch.Tensor, labels: torch.Tensor, centroids: torch.Tensor
    ) -> torch.Tensor:
        """Prototypes of some labels.

        Parameters
        ----------
        embeddings : Tensor of shape (n, dimension)
            Encoder outputs of the labels, before normalisation.
        labels : Tensor of shape (n,), int64
            Which labels they are.
        centroids : Tensor of shape (n, dimension)
            Means of the normalised embeddings of their documents; zero for labels without.

        Returns
        -------
        prototypes : Tensor of shape (n, dimension), unit norm
        """
        free = self.free_vectors(self.clusters[labels])
        tokens = torch.stack([embeddings, free, centroids], dim=1)
        fused = self.layer(tokens).mean(dim=1)
        has_documents = (centroids != 0).any(dim=1, keepdim=True)
        return F.normalize(torch.where(has_documents, fused, embeddings), dim=1)

    @torch.inference_mode()
    def of_all(self, labels: np.ndarray, lengths: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """Prototypes of all labels, (n_labels, dimension) float32.

        Parameters
        ----------
        labels : ndarray of shape (n_labels, dimension), float32, unit norm
        lengths : ndarray of shape (n_labels, 1), float32
            Those of the encoder's outputs before they were brought to unit norm.
        centroids : ndarray of shape (n_labels, dimension), float32
        """
        device = self.free_vectors.weight.device
        prototypes = np.empty_like(labels)
        for start in range(0, len(labels), _ROWS):
            part = slice(start, start + _ROWS)
            raw = torch.from_numpy(labels[part] * lengths[part]).to(device)
            ids = torch.arange(start, start + len(raw), device=device)
            of_documents = torch.from_numpy(centroids[part]).to(device)
            prototypes[part] = self(raw, ids, of_documents).cpu().numpy()
        return prototypes
