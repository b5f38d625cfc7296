"""Packed attention: a batch of ragged sequences runs through a transformer without padding.

The sequences are laid end to end, sorted by length, in one long row. Every operation of a
transformer but attention works on single positions, so it does not notice; attention is taken
over each run of equally long sequences, which is a dense batch that needs no mask. On short
texts this saves most of the work of a padded batch (padding is two thirds of a batch of 512
icon names), and it keeps matrix products large.

Where all sequences of a causal model start with the same tokens, these stand once at the head of
the row, and every sequence reads their keys and values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._variable_length import attend, can_attend

PACKED = "skxmc_packed"

# Keys up to which two products of matrices are faster on a CPU, in training, than torch's own
# attention, whose backward pass in bf16 takes five to seven times as long for 16 to 64 tokens.
SHORT = 128

# Attention scores of a run up to which products of matrices are float32 on a CPU: those in bfloat16
# are kernels that are compiled for each shape, five milliseconds for a run and its backward pass,
# and hardly a batch has as many sequences of a length as another.
FEW_SCORES = 2**18

# On a CPU a row is filled up to a multiple of so many tokens. The kernels for products of matrices
# are compiled for each shape and kept, a megabyte or so each: rows of any length fill gigabytes.
# A shorter row, such as a single document, is filled up to a multiple of the second number.
ROW_STEP, SHORT_ROW_STEP = 128, 16

# What some architectures add to attention and this one does not know.
_UNKNOWN = ("position_bias", "s_aux")


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    runs: list[tuple[int, int]] | None = None,
    shared: int = 0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention within each sequence of a packed row, for transformers' attention interface.

    Parameters
    ----------
    module : torch.nn.Module
        The attention layer that calls; its ``is_causal`` is honoured.
    query, key, value : torch.Tensor of shape (1, n_heads, n_tokens, head_dimension)
    runs : list of (count, length)
        Consecutive runs of `count` sequences with `length` tokens each. What they leave of the
        row is filling, for which there are zeros.
    shared : int, default=0
        Tokens at the head of the row, before the runs, that begin every sequence.
    sliding_window : int or None
        How many tokens, its own included, a token of a causal layer sees.
    softcap : float or None
        Bound of attention scores (Gemma 2).

    Returns
    -------
    output : torch.Tensor of shape (1, n_tokens, n_heads, head_dimension)
    """
    if runs is None:
        raise ValueError("this architecture does not hand `runs` to its attention layers")
    for name in _UNKNOWN:
        if kwargs.get(name) is not None:
            raise ValueError(f"packed attention knows no {name}")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    if shared and not causal:
        raise ValueError("only causal layers can share what sequences begin with")
    window = sliding_window if causal else None
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    filling = len(rows[0]) - shared - sum(count * length for count, length in runs)
    whole = not (shared or filling or softcap)
    if whole and can_attend(*rows, causal, window, attend_by_runs):
        return attend(*rows, runs, scaling, causal, window)[None], None
    return attend_by_runs(*rows, runs, scaling, causal, window, softcap, shared)[None], None


def attend_by_runs(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    runs: list[tuple[int, int]],
    scale: float | None,
    causal: bool,
    window: int | None,
    softcap: float | None = None,
    shared: int = 0,
) -> torch.Tensor:
    """Attention of one run after the other; tensors are (n_tokens, n_heads, width)."""
    if shared:
        runs = [(1, shared), *runs]
    sizes = [count * length for count, length in runs]
    filling = len(query) - sum(sizes)
    sizes.append(filling)
    # split, not slicing: its backward is one concatenation instead of a zero-filled row a slice.
    parts = [tensor.split(sizes) for tensor in (query, key, value)]
    outputs, first = [], None
    for (count, length), *qkv in zip(runs, *parts, strict=False):  # filling comes last
        q, k, v = (part.view(count, length, *part.shape[1:]).transpose(1, 2) for part in qkv)
        if first is not None:
            k, v = (
                torch.cat([head.expand(count, -1, -1, -1), own], dim=2)
                for head, own in zip(first, (k, v), strict=True)
            )
        elif shared:
            first = (k, v)
        out = _attend(q, k, v, scale, causal, window, softcap)
        outputs.append(out.transpose(1, 2).reshape(count * length, q.shape[1], -1))
    if filling:
        outputs.append(outputs[0].new_zeros(filling, *outputs[0].shape[1:]))
    return torch.cat(outputs)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    causal: bool,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention of equally long sequences; the last keys are those of the queries' tokens."""
    length, total = query.shape[2], key.shape[2]
    short = torch.is_grad_enabled() and query.device.type == "cpu" and total <= SHORT
    by_products = softcap or short
    mask = None
    if causal and total > 1 and (by_products or total > length or (window and total > window)):
        mask = torch.ones(length, total, dtype=torch.bool, device=query.device)
        mask = mask.tril(total - length)
        if window:
            mask = mask.triu(total - length - window + 1)
    if by_products:
        return _attend_by_products(query, key, value, scale, mask, softcap)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        scale=scale,
        is_causal=causal and mask is None and length > 1,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def _attend_by_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    mask: torch.Tensor | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention as two products of batches of matrices.

    Queries that share a head of keys are rows of one matrix.
    """
    count, heads, length, width = query.shape
    groups, total = key.shape[1:3]
    rows = heads // groups * length
    dtype = out = value.dtype  # under autocast rotary embeddings leave queries and keys in fp32
    if value.device.type == "cpu" and count * heads * length * total <= FEW_SCORES:
        dtype = torch.float32
    query = query.to(dtype).reshape(count * groups, rows, width)
    key = key.to(dtype).reshape(count * groups, total, width).transpose(1, 2)
    value = value.to(dtype).reshape(count * groups, total, -1)
    bias = torch.zeros(length, total, dtype=dtype, device=query.device)
    if mask is not None:
        bias = bias.masked_fill_(~mask, -torch.inf)
    bias = bias.repeat(heads // groups, 1)
    scale = scale or width**-0.5
    with torch.autocast(query.device.type, enabled=False):
        if softcap:
            scores = torch.tanh(torch.bmm(query, key) * (scale / softcap)) * softcap + bias
        else:
            scores = torch.baddbmm(bias, query, key, alpha=scale)
        output = torch.bmm(scores.softmax(dim=-1), value)
    return output.view(count, heads, length, -1).to(out)


def _no_mask(*args, **kwargs) -> None:
    return None


def use_packed_attention(model: torch.nn.Module) -> None:
    """Let a model of transformers, which is imported late, call :func:`packed_attention`."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(PACKED, packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED, _no_mask)
    model.set_attn_implementation(PACKED)


def packed_row(
    embeddings: torch.Tensor, positions: torch.Tensor, position_offset: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and position ids of a row as a batch of one, filled up where that helps."""
    n_tokens = len(embeddings)
    step = ROW_STEP if n_tokens > ROW_STEP else SHORT_ROW_STEP
    filling = -n_tokens % step if embeddings.device.type == "cpu" else 0
    if filling:
        embeddings = F.pad(embeddings, (0, 0, 0, filling))
        positions = F.pad(positions, (0, filling))
    return embeddings[None], (positions + position_offset)[None]


def run_transformer(
    model: torch.nn.Module,
    embeddings: torch.Tensor,
    positions: torch.Tensor,
    runs: list[tuple[int, int]],
    *,
    packed: bool,
    position_offset: int = 0,
    shared: int = 0,
) -> torch.Tensor:
    """Last hidden states of ragged sequences, one row a token.

    Parameters
    ----------
    model : torch.nn.Module
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
    shared : int, default=0
        Tokens at the head of the row that begin every sequence, when packed; the runs are what
        follows them.

    Returns
    -------
    hidden : torch.Tensor of shape (n_tokens, dimension)
    """
    if packed:
        n_tokens = len(embeddings)
        row, position_ids = packed_row(embeddings, positions, position_offset)
        output = model(
            inputs_embeds=row,
            position_ids=position_ids,
            runs=runs,
            **({"shared": shared} if shared else {}),
        )
        return output.last_hidden_state[0, :n_tokens]
    hidden = []
    for (count, length), part in zip(
        runs, embeddings.split([count * length for count, length in runs]), strict=True
    ):
        output = model(inputs_embeds=part.view(count, length, -1))
        hidden.append(output.last_hidden_state.flatten(0, 1))
    return torch.cat(hidden)


# -- probes -----------------------------------------------------------------------------------

# Architectures without the attention interface, or with a part that it does not know, fail in
# their own ways when they are probed; each of them runs by equal lengths instead.
_FAILURES = (TypeError, ValueError, RuntimeError, IndexError, AttributeError)


def probe_packing(model: torch.nn.Module, max_length: int) -> tuple[bool, int]:
    """Find out whether packing gives this model's own hidden states, and with which offset.

    Runs sequences of three lengths, one of them `max_length` (so that sliding windows show),
    both ways and compares. The model is left in packed mode when it can pack.

    Parameters
    ----------
    model : torch.nn.Module
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
    original = model.config._attn_implementation
    with torch.inference_mode():
        embeddings = _random_embeddings(model, sum(lengths))
        positions = torch.cat([torch.arange(n, device=embeddings.device) for n in lengths])
        expected = run_transformer(model, embeddings, positions, runs, packed=False)
        padding = getattr(model.config, "pad_token_id", None)
        offsets = [0] if padding is None or padding < 0 else [0, padding + 1]
        try:
            use_packed_attention(model)
            for offset in offsets:
                got = run_transformer(
                    model, embeddings, positions, runs, packed=True, position_offset=offset
                )
                if _equal(got, expected):
                    return True, offset
        except _FAILURES:
            pass
    model.set_attn_implementation(original)
    return False, 0


def probe_sharing(
    model: torch.nn.Module, n_shared: int, max_length: int, position_offset: int = 0
) -> bool:
    """Find out whether a packed model's hidden states stay the same when sequences share a head.

    Parameters
    ----------
    model : torch.nn.Module
        A model in packed mode.
    n_shared : int
        Tokens that all sequences begin with.
    max_length : int
        The longest sequence that will be met, in tokens, those included.
    position_offset : int, default=0
        As found by :func:`probe_packing`.

    Returns
    -------
    shares : bool
        Whether it is exact for this model.
    """
    lengths = sorted({1, 4, max(5, max_length - n_shared)})
    head = torch.arange(n_shared)
    own = [n_shared + torch.arange(length) for length in lengths]
    ids = n_shared + torch.arange(sum(lengths))  # of rows in the table of random embeddings
    whole = torch.cat([torch.cat([head, part]) for part in ids.split(lengths)])
    options = {"packed": True, "position_offset": position_offset}
    with torch.inference_mode():
        embeddings = _random_embeddings(model, n_shared + sum(lengths))
        device = embeddings.device
        expected = run_transformer(
            model,
            embeddings[whole.to(device)],
            torch.cat([torch.cat([head, part]) for part in own]).to(device),
            [(1, n_shared + length) for length in lengths],
            **options,
        )
        try:
            got = run_transformer(
                model,
                embeddings,
                torch.cat([head, *own]).to(device),
                [(1, length) for length in lengths],
                shared=n_shared,
                **options,
            )
        except _FAILURES:
            return False
        return _equal(got[whole.to(device)], expected)


def _random_embeddings(model: torch.nn.Module, n_tokens: int) -> torch.Tensor:
    table = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, table.num_embeddings, (n_tokens,), generator=generator)
    return table(ids.to(table.weight.device))


def _equal(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether all hidden states are the same but for rounding in the model's own precision.

    Thirty layers in bf16 round the vector of a token by up to 3 % of its length.
    """
    tolerance = 1e-4 if expected.dtype == torch.float32 else 0.1
    expected = expected.float()
    error = (got.float() - expected).norm(dim=-1)
    return bool((error <= tolerance * expected.norm(dim=-1).clamp(min=1e-6)).all())
