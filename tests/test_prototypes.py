"""The prototype network against its formula written out, and label centroids."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from skxmc._features._centroids import label_centroids
from skxmc.objectives._prototype_network import PrototypeNetwork

WIDTH = 16


def by_hand(network, embeddings, labels, centroids):
    """One post-norm transformer layer over three tokens a label, step by step."""
    layer = network.layer
    free = network.free_vectors.weight[network.clusters[labels]]
    x = torch.stack([embeddings, free, centroids], dim=1)
    n, width = len(x), x.shape[2]
    heads = layer.self_attn.num_heads
    projected = x @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias
    q, k, v = (
        part.reshape(n, 3, heads, width // heads).transpose(1, 2)
        for part in projected.split(width, 2)
    )
    weights = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(dim=3)
    attended = (weights @ v).transpose(1, 2).reshape(n, 3, width)
    attended = attended @ layer.self_attn.out_proj.weight.T + layer.self_attn.out_proj.bias
    x = F.layer_norm(x + attended, (width,), layer.norm1.weight, layer.norm1.bias)
    inner = F.gelu(x @ layer.linear1.weight.T + layer.linear1.bias)
    x = x + inner @ layer.linear2.weight.T + layer.linear2.bias
    x = F.layer_norm(x, (width,), layer.norm2.weight, layer.norm2.bias)
    return F.normalize(x.mean(dim=1), dim=1)


def make_network(clusters, seed=0, **options):
    torch.manual_seed(seed)
    network = PrototypeNetwork(WIDTH, np.asarray(clusters), feedforward=24, **options)
    for norm in (network.layer.norm1, network.layer.norm2):  # ones and zeros would hide mistakes
        torch.nn.init.normal_(norm.weight, 1.0, 0.3)
        torch.nn.init.normal_(norm.bias, 0.0, 0.3)
    return network


@pytest.mark.parametrize("grad", [True, False])
def test_prototypes_are_the_formula(grad):
    network = make_network([2, 0, 0, 1, 1]).eval()
    labels = torch.tensor([4, 0, 3])
    embeddings, centroids = 2 * torch.randn(3, WIDTH), torch.randn(3, WIDTH)
    expected = by_hand(network, embeddings, labels, centroids)
    with torch.set_grad_enabled(grad):  # without a graph torch takes another path
        got = network(embeddings, labels, centroids)
    np.testing.assert_allclose(got.detach(), expected.detach(), atol=1e-5)
    np.testing.assert_allclose(got.detach().norm(dim=1), 1, atol=1e-6)


def test_layer_is_the_published_one():
    network = PrototypeNetwork(384, np.arange(3))
    layer = network.layer
    assert layer.self_attn.num_heads == 8
    assert layer.linear1.out_features == 1024
    assert layer.norm_first is False
    assert {layer.dropout.p, layer.dropout1.p, layer.dropout2.p, layer.self_attn.dropout} == {0.1}
    assert network.free_vectors.weight.shape == (3, 384)


def test_label_without_documents_keeps_its_text():
    network = make_network(np.arange(3)).eval()
    embeddings, centroids = torch.randn(3, WIDTH), torch.randn(3, WIDTH)
    centroids[1] = 0
    got = network(embeddings, torch.arange(3), centroids)
    torch.testing.assert_close(got[1], F.normalize(embeddings[1], dim=0))
    assert F.cosine_similarity(got[0], embeddings[0], dim=0) < 0.999
    got[1].sum().backward()
    assert network.free_vectors.weight.grad[1].abs().max() == 0


def test_free_vectors_are_shared_within_clusters():
    network = make_network([1, 0, 0, 1]).eval()
    assert network.free_vectors.num_embeddings == 2
    embeddings = torch.randn(1, WIDTH).expand(4, -1)
    centroids = torch.randn(1, WIDTH).expand(4, -1)
    got = network(embeddings, torch.arange(4), centroids)
    torch.testing.assert_close(got[0], got[3])
    torch.testing.assert_close(got[1], got[2])
    assert (got[0] - got[1]).abs().max() > 1e-2
    got[0].sum().backward()
    assert network.free_vectors.weight.grad[1].abs().max() > 0
    assert network.free_vectors.weight.grad[0].abs().max() == 0


def test_free_vectors_start_uniform_or_as_given():
    drawn = make_network(np.arange(50)).free_vectors.weight
    bound = (6 / (50 + WIDTH)) ** 0.5
    assert 0.9 * bound < drawn.abs().max() <= bound
    start = np.random.RandomState(0).normal(size=(2, WIDTH)).astype(np.float32)
    given = make_network([1, 0, 1], free_vectors=start).free_vectors.weight
    np.testing.assert_array_equal(given.detach(), start)


@pytest.mark.parametrize("dimension", [16, 36, 50, 7])
def test_any_width_has_a_number_of_heads(dimension):
    network = PrototypeNetwork(dimension, np.arange(2)).eval()
    x = torch.randn(2, dimension)
    assert network(x, torch.arange(2), x).shape == (2, dimension)


def test_centroids_are_means_of_documents(rng):
    documents = rng.normal(size=(5, 3)).astype(np.float32)
    Y = sp.csr_array(
        np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=np.float32)
    )
    centroids = label_centroids(documents, Y)
    assert centroids.dtype == np.float32
    np.testing.assert_allclose(centroids[0], documents[[0, 1, 4]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(centroids[1], documents[[1, 3]].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(centroids[2], 0)
