"""Random encoders of a few thousand weights, with tokenizers, for tests that run offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from skxmc._backbones._transformers import TransformersBackbone
from skxmc._inputs._images import ImageFeatures
from skxmc._towers._decoder import DecoderTower, probe_decoder
from skxmc._towers._prompts import Prompts, tokenize_prompts
from skxmc._towers._text import TextTower

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WIDTH = 32

# Weights this large make attention pick single tokens; the usual 0.02 makes it a plain average,
# under which many mistakes would not show.
SPREAD = 0.3

# Model type: class of its encoder, and what its configuration needs beside the common part.
ARCHITECTURES = {
    "bert": ("BertModel", {}),
    "distilbert": ("DistilBertModel", {}),
    "roberta": ("RobertaModel", {"pad_token_id": 1}),
    "mpnet": ("MPNetModel", {"pad_token_id": 1}),
    "electra": ("ElectraModel", {"embedding_size": 16}),
    "modernbert": (
        "ModernBertModel",
        # Every second layer sees four tokens to either side.
        {"local_attention": 8, "global_attn_every_n_layers": 2, "num_hidden_layers": 3},
    ),
    "t5": ("T5EncoderModel", {"d_kv": 8, "d_ff": 48, "relative_attention_num_buckets": 8}),
}


# The same for language models without their heads. None of them sees more than the default
# length of a tiny tower but for the two with windows of local attention.
DECODERS = {
    "llama": ("LlamaModel", {"num_key_value_heads": 2}),
    "gpt2": ("GPT2Model", {"n_inner": 48}),
    "gemma": ("GemmaModel", {"num_key_value_heads": 1, "head_dim": 8}),
    "gemma2": (
        "Gemma2Model",
        # Scores are bounded, and every second layer sees six tokens.
        {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 2.0,
            "sliding_window": 6,
        },
    ),
    "gemma3": (
        "Gemma3TextModel",
        {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "mistral": ("MistralModel", {"num_key_value_heads": 2, "sliding_window": 6}),
    "qwen2": ("Qwen2Model", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Model", {"num_key_value_heads": 2, "head_dim": 8}),
    "opt": ("OPTModel", {"ffn_dim": 48, "word_embed_proj_dim": 16, "pad_token_id": 1}),
    "gpt_neox": ("GPTNeoXModel", {"rotary_pct": 0.5}),
    "mamba": ("MambaModel", {"state_size": 4, "time_step_rank": 4}),
}


def word_pieces(words=()) -> PreTrainedTokenizerFast:
    """WordPiece tokenizer of lower-case letters and the given words: ``[CLS] text [SEP]``."""
    pieces = SPECIAL + list(LETTERS) + [f"##{letter}" for letter in LETTERS]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, *words]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def byte_pairs(template: str = "<s> $A </s>") -> PreTrainedTokenizerFast:
    """Byte-level BPE tokenizer with a single merge; padding has id 1."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    symbols = special + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["th"]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def tiny_tokenizer(architecture: str, words=()) -> PreTrainedTokenizerFast:
    """The tokenizer that goes with :func:`tiny_backbone`."""
    return byte_pairs() if architecture in ("roberta", "mpnet") else word_pieces(words)


def tiny_backbone(
    architecture: str = "bert",
    *,
    vocabulary: int = 300,
    seed: int = 0,
    spread: float = SPREAD,
    **changes,
):
    """A random encoder of width 32 with two or three layers, in evaluation mode."""
    class_name, extra = ARCHITECTURES[architecture]
    options = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 80,
        "pad_token_id": 0,
        "initializer_range": spread,
        **extra,
        **changes,
    }
    if architecture == "distilbert":
        options = {"hidden_dim": options.pop("intermediate_size"), **options}
    if architecture == "t5":
        del options["intermediate_size"], options["max_position_embeddings"]
        del options["initializer_range"]
    return _random_model(class_name, options, seed)


def _random_model(class_name: str, options: dict, seed: int):
    model_class = getattr(transformers, class_name)
    config = model_class.config_class(**options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config).eval()


def tiny_language_model(
    architecture: str = "llama",
    *,
    vocabulary: int = 300,
    seed: int = 0,
    spread: float = SPREAD,
    **changes,
):
    """A random decoder without head, of width 32 with two layers, in evaluation mode."""
    class_name, extra = DECODERS[architecture]
    options = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 80,
        "bos_token_id": 0,
        "pad_token_id": None,
        "eos_token_id": 2,
        "initializer_range": spread,
        "use_cache": False,
        **extra,
        **changes,
    }
    if architecture in ("opt", "gpt2", "mamba"):  # these call them otherwise
        del options["intermediate_size"]
    if architecture == "opt":
        options["init_std"] = options.pop("initializer_range")
    if architecture == "mamba":
        del options["num_attention_heads"], options["max_position_embeddings"]
    model = _random_model(class_name, options, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms start without effect
                parameter.data += spread * torch.randn(parameter.shape)
    return model


def tiny_decoder(
    architecture: str = "llama",
    *,
    prompts: Prompts | None = None,
    pooling: str = "mean",
    max_length: int = 24,
    packing: tuple[bool, int, int] | None = None,
    **options,
) -> DecoderTower:
    """A tower around :func:`tiny_language_model`.

    `packing` is how sequences go through, (packed, position offset, shared tokens); None probes it.
    """
    tokenizer = byte_pairs("<s> $A")
    model = tiny_language_model(architecture, vocabulary=len(tokenizer), **options)
    prompts = prompts or Prompts("the text", "and image")
    if packing is None:
        frame = tokenize_prompts(prompts, tokenizer)
        backbone, n_shared = probe_decoder(model, frame, max_length + 3)
    else:
        backbone, n_shared = TransformersBackbone(model, *packing[:2]), packing[2]
    return DecoderTower(
        backbone,
        tokenizer,
        prompts=prompts,
        pooling=pooling,
        max_length=max_length,
        n_shared=n_shared,
    )


def save_language_model(folder: Path, architecture: str = "llama", **options) -> str:
    """Write a random language model with its tokenizer to `folder`."""
    tokenizer = byte_pairs("<s> $A")
    tokenizer.save_pretrained(folder)
    model = tiny_language_model(architecture, vocabulary=len(tokenizer), **options)
    model.save_pretrained(folder)
    return str(folder)


def tiny_tower(
    architecture: str = "bert",
    *,
    words=(),
    pooling: str = "mean",
    max_length: int = 24,
    head: torch.nn.Module | None = None,
    **options,
) -> TextTower:
    """A tower around :func:`tiny_backbone`."""
    tokenizer = tiny_tokenizer(architecture, words)
    model = tiny_backbone(architecture, vocabulary=len(tokenizer), **options)
    backbone = TransformersBackbone.probe(model, max_length)
    return TextTower(backbone, tokenizer, pooling=pooling, max_length=max_length, head=head)


def save_encoder(
    folder: Path,
    architecture: str = "bert",
    *,
    words=(),
    pooling: str = "mean",
    max_length: int = 24,
    modules=(),
    **options,
) -> str:
    """Write a random sentence-transformers model to `folder`; `modules` follow the pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    plain = str(folder / "plain")
    tokenizer = tiny_tokenizer(architecture, words)
    tokenizer.save_pretrained(plain)
    tiny_backbone(architecture, vocabulary=len(tokenizer), **options).save_pretrained(plain)
    first = Transformer(plain, max_seq_length=max_length)
    encoder = SentenceTransformer(modules=[first, Pooling(WIDTH, pooling), *modules], device="cpu")
    encoder.save(str(folder / "encoder"))
    return str(folder / "encoder")


def random_texts(rng: np.random.RandomState, n: int, longest: int = 20) -> list[str]:
    """Texts of 0 to `longest` random letters, with spaces among them."""
    letters = list(LETTERS + "      ")
    return ["".join(rng.choice(letters, size=rng.randint(longest + 1))) for _ in range(n)]


def random_images(
    rng: np.random.RandomState, n_items: int, *, dimension: int = 6, n_distinct: int = 9
) -> ImageFeatures:
    """Items with no image up to three of them."""
    index = rng.randint(n_distinct, size=(n_items, 3)).astype(np.int32)
    index[np.arange(3) >= rng.randint(4, size=n_items)[:, np.newaxis]] = -1
    vectors = rng.normal(size=(n_distinct, dimension)).astype(np.float32)
    return ImageFeatures(vectors, index)
