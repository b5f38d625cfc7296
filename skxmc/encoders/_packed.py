"""Packed attention: a batch of ragged sequences runs through a transformer without padding.

The sequences are laid end to end, sorted by length, in one long row. Every operation of a
transformer but attention works on single positions, so it does not notice; attention is taken
over each run of equally long sequences, which is a dense batch that needs no mask. On short
texts this saves most of the work of a padded batch (padding is two thirds of a batch of 512
icon names), and it keeps matrix products large.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PACKED = "skxmc_packed"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    runs: list[tuple[int, int]] | None = None,
    is_causal: bool | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention within each sequence of a packed row, for transformers' attention interface.

    Parameters
    ----------
    module : torch.nn.Module
        The attention layer that calls; its ``is_causal`` is honoured.
    query, key, value : torch.Tensor of shape (1, n_heads, n_tokens, head_dimension)
    runs : list of (count, length)
        Consecutive runs of `count` sequences with `length` tokens each; they cover the row.

    Returns
    -------
    output : torch.Tensor of shape (1, n_tokens, n_heads, head_dimension)
    """
    if runs is None:
        raise ValueError("this architecture does not hand `runs` to its attention layers")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    sizes = [count * length for count, length in runs]
    # split, not slicing: its backward is one concatenation instead of a zero-filled row a slice.
    parts = [tensor[0].transpose(0, 1).split(sizes) for tensor in (query, key, value)]
    outputs = []
    for (count, length), *qkv in zip(runs, *parts, strict=True):
        q, k, v = (part.view(count, length, *part.shape[1:]).transpose(1, 2) for part in qkv)
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            scale=scaling,
            is_causal=causal and length > 1,
            enable_gqa=k.shape[1] != q.shape[1],
        )
        outputs.append(out.transpose(1, 2).reshape(count * length, q.shape[1], -1))
    return torch.cat(outputs)[None], None


def _no_mask(*args, **kwargs) -> None:
    return None


ALL_ATTENTION_FUNCTIONS.register(PACKED, packed_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED, _no_mask)


def run_transformer(
    backbone: torch.nn.Module,
    embeddings: torch.Tensor,
    positions: torch.Tensor,
    runs: list[tuple[int, int]],
    *,
    packed: bool,
    position_offset: int = 0,
) -> torch.Tensor:
    """Last hidden states of ragged sequences, one row a token.

    Parameters
    ----------
    backbone : torch.nn.Module
        A transformers model that takes ``inputs_embeds``.
    embeddings : torch.Tensor of shape (n_tokens, dimension)
        Token embeddings before position and type embeddings.
    positions : torch.Tensor of shape (n_tokens,), int64
        Position of each token in its own sequence, from 0.
    runs : list of (count, length)
        As in :func:`packed_attention`.
    packed : bool
        Whether the whole row goes through at once. Otherwise each run goes through as a dense
        batch of equally long sequences, which is right for every architecture, state-space
        models included: there is no padding that a mask would have to hide.
    position_offset : int, default=0
        Added to positions when packed (RoBERTa counts from the padding index plus one).

    Returns
    -------
    hidden : torch.Tensor of shape (n_tokens, dimension)
    """
    if packed:
        output = backbone(
            inputs_embeds=embeddings[None],
            position_ids=(positions + position_offset)[None],
            runs=runs,
        )
        return output.last_hidden_state[0]
    hidden = []
    for (count, length), part in zip(
        runs, embeddings.split([count * length for count, length in runs]), strict=True
    ):
        output = backbone(inputs_embeds=part.view(count, length, -1))
        hidden.append(output.last_hidden_state.flatten(0, 1))
    return torch.cat(hidden)


def probe_packing(backbone: torch.nn.Module, max_length: int) -> tuple[bool, int]:
    """Find out whether packing gives this model's own hidden states, and with which offset.

    Runs sequences of three lengths, one of them `max_length` (so that sliding windows show),
    both ways and compares, in fp32. The model is left in packed mode when it can pack.

    Parameters
    ----------
    backbone : torch.nn.Module
        A transformers model.
    max_length : int
        The longest sequence that will be met, in tokens.

    Returns
    -------
    packed : bool
        Whether packing is exact for this model.
    position_offset : int
        What to add to positions when packed.
    """
    lengths = sorted({2, 5, max(6, max_length)})
    runs = [(1, length) for length in lengths]
    table = backbone.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, table.num_embeddings, (sum(lengths),), generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])
    original = backbone.config._attn_implementation
    with torch.inference_mode():
        embeddings = table(ids.to(table.weight.device))
        positions = positions.to(embeddings.device)
        expected = run_transformer(backbone, embeddings, positions, runs, packed=False)
        padding = getattr(backbone.config, "pad_token_id", None)
        offsets = [0] if padding is None or padding < 0 else [0, padding + 1]
        try:
            backbone.set_attn_implementation(PACKED)
            for offset in offsets:
                got = run_transformer(
                    backbone, embeddings, positions, runs, packed=True, position_offset=offset
                )
                scale = expected.abs().max().clamp(min=1e-6)
                if torch.allclose(got / scale, expected / scale, atol=1e-4):
                    return True, offset
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            # Architectures without the attention interface fail in their own ways; each of
            # them runs by equal lengths instead.
            pass
    backbone.set_attn_implementation(original)
    return False, 0
