"""Pictures as users pass them: every form, every defect, and what is decoded from them."""

import copy
import os
import pickle
import struct
import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from skxmc._inputs import _decoding
from skxmc._inputs._images import ImageFeatures, ImageItems, collect_images, decode_image

RED = np.zeros((5, 7, 3), dtype=np.uint8)
RED[..., 0] = 255
NOISE = np.random.RandomState(0).randint(0, 256, size=(6, 9, 3), dtype=np.uint8)


def encoded(image, format="PNG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def pixels(source) -> np.ndarray:
    image = decode_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture
def noise_file(tmp_path) -> Path:
    path = tmp_path / "noise.png"
    path.write_bytes(encoded(NOISE))
    return path


# --- forms ---


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        Image.open,
        lambda path: NOISE,
        lambda path: [path],
        lambda path: (None, str(path), float("nan")),
        lambda path: np.array([str(path)]),
        lambda path: np.array([None, path], dtype=object),
        lambda path: NOISE[np.newaxis],
        lambda path: pd.Series([str(path), None]),
    ],
)
def test_every_form_of_an_entry_gives_the_picture(form, noise_file):
    items = collect_images([None, form(noise_file)], 2)
    assert isinstance(items, ImageItems)
    assert len(items) == 2
    assert items.n_distinct == 1
    np.testing.assert_array_equal(items.index, [[-1], [0]])
    assert items.index.dtype == np.int32
    np.testing.assert_array_equal(np.asarray(items.decode(0)), NOISE)


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        pd.Series,
        lambda entries: pd.Series(entries, index=[5, 0, 5]),
        pl.Series,
        lambda entries: np.array(entries, dtype=object),
        lambda entries: pl.Series([[entry] for entry in entries]),
        lambda entries: pl.DataFrame({"image": entries})["image"],
        lambda entries: pd.DataFrame({"image": entries})["image"],
    ],
)
def test_every_container_of_paths(container, noise_file, tmp_path):
    other = tmp_path / "red.png"
    other.write_bytes(encoded(RED))
    items = collect_images(container([str(other), None, str(noise_file)]), 3)
    np.testing.assert_array_equal(items.index, [[0], [-1], [1]])
    np.testing.assert_array_equal(np.asarray(items.decode(1)), NOISE)


def test_arrays_of_pictures():
    batch = np.stack([NOISE, NOISE[::-1], NOISE])
    items = collect_images(batch, 3)
    np.testing.assert_array_equal(items.index, [[0], [1], [0]])
    grey = collect_images(batch[..., 0], 3)
    np.testing.assert_array_equal(np.asarray(grey.decode(0))[..., 2], NOISE[..., 0])
    several = collect_images(np.stack([batch[:2], batch[1:]]), 2)
    np.testing.assert_array_equal(several.index, [[0, 1], [1, 0]])
    names = np.array([["a", "b"]])
    with pytest.raises(
        ValueError, match=r"images\[0\]\[0\] is a path but no such file exists: 'a'"
    ):
        collect_images(names, 1)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    items = collect_images([torch.from_numpy(NOISE)], 1)
    np.testing.assert_array_equal(np.asarray(items.decode(0)), NOISE)
    features = collect_images(torch.ones(2, 4), 2)
    assert isinstance(features, ImageFeatures)


def test_no_images():
    assert collect_images(None, 3) is None
    items = collect_images([None, [], float("nan"), pd.NA, [None, None]], 5)
    assert items.n_distinct == 0
    np.testing.assert_array_equal(items.index, np.full((5, 1), -1))
    assert collect_images([], 0).index.shape == (0, 1)


def test_missing_pictures_of_an_item_stand_last():
    items = collect_images([[None, NOISE, None, RED], RED, None], 3)
    np.testing.assert_array_equal(items.index, [[0, 1], [1, -1], [-1, -1]])
    assert items.names == ("images[0][1]", "images[0][3]")


def test_each_content_is_kept_once(noise_file, tmp_path):
    copied = tmp_path / "copy.png"
    copied.write_bytes(noise_file.read_bytes())
    same_file = [str(noise_file), copied, noise_file.read_bytes()]
    same_pixels = [NOISE, Image.fromarray(NOISE), NOISE.copy()]
    items = collect_images([*same_file, *same_pixels, NOISE[:, ::-1]], 7)
    np.testing.assert_array_equal(items.index.ravel(), [0, 0, 0, 1, 1, 1, 2])
    assert len(set(items.hashes)) == items.n_distinct == len(items.sources) == 3


def test_hash_tells_apart_what_decodes_differently():
    grey = Image.fromarray(NOISE[..., 0])
    palette = grey.copy()
    palette.putpalette(NOISE.reshape(-1, 3).repeat(5, axis=0)[:256].ravel().tolist())
    transparent = grey.copy()
    transparent.info["transparency"] = int(NOISE[0, 0, 0])
    rotated = grey.copy()
    rotated.getexif()[0x0112] = 6
    reshaped = Image.fromarray(NOISE[..., 0].reshape(9, 6))
    variants = [grey, palette, transparent, rotated, reshaped]
    items = collect_images(variants, 5)
    assert items.n_distinct == 5
    assert len({items.decode(i).tobytes() + bytes(items.decode(i).size) for i in range(5)}) == 5


def test_input_is_not_changed(noise_file):
    group = [None, str(noise_file)]
    images = [group, None]
    before = copy.deepcopy(images)
    collect_images(images, 2)
    assert images == before
    array = NOISE.copy()
    decoded = decode_image(array)
    decoded.paste((0, 0, 0), (0, 0, 3, 3))
    np.testing.assert_array_equal(array, NOISE)
    image = Image.fromarray(NOISE)
    decode_image(image).paste((0, 0, 0), (0, 0, 3, 3))
    np.testing.assert_array_equal(np.asarray(image), NOISE)


def test_items_pickle(noise_file):
    items = collect_images([str(noise_file), encoded(RED), Image.fromarray(NOISE[::-1]), RED], 4)
    again = pickle.loads(pickle.dumps(items))
    assert again.hashes == items.hashes
    for i in range(4):
        np.testing.assert_array_equal(np.asarray(again.decode(i)), np.asarray(items.decode(i)))


# --- what is refused ---


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("a.png", TypeError, "photos must be a sequence .* got str"),
        (b"abc", TypeError, "got bytes"),
        (Path("a.png"), TypeError, "one entry for each row"),
        ({"a": 1, "b": 2}, TypeError, "got dict"),
        (iter([None, None]), TypeError, "pass a list"),
        (Image.new("RGB", (2, 2)), TypeError, "got Image"),
        (pd.DataFrame({"a": [1, 2]}), TypeError, "pass the one column"),
        ([None], ValueError, "photos has length 1 but there are 2 rows"),
        ([None, 3], TypeError, r"photos\[1\] is of type int; pass a path, bytes"),
        ([None, [None, 3]], TypeError, r"photos\[1\]\[1\] is of type int"),
        ([None, [["a"]]], TypeError, r"photos\[1\]\[0\] is of type list"),
        ([None, "no.png"], ValueError, r"photos\[1\] is a path but no such file exists: 'no.png'"),
        ([None, "ab\0c"], ValueError, r"photos\[1\] is a path but it cannot be read"),
        ([None, "https://x.org/a.png"], ValueError, "download it first"),
        ([None, "."], ValueError, "it is a folder"),
        ([None, RED.astype(float)], TypeError, r"photos\[1\] is an array of shape \(5, 7, 3\)"),
        ([None, np.zeros(4)], TypeError, "For ready embeddings pass one float array"),
        ([None, RED.transpose(2, 0, 1)], TypeError, r"uint8 of shape \(H, W\)"),
        ([None, RED[:0]], ValueError, "pass None instead"),
        ([None, [RED] * 4], ValueError, r"photos\[1\] holds 4 pictures but max_images is 3; raise"),
        (np.zeros((2, 4), dtype=np.uint8), TypeError, "ready embeddings must be float"),
        (np.zeros((2, 4, 4), dtype=int), TypeError, "pictures uint8"),
        (np.array([b"ab\0", b"c"]), TypeError, "drops zero bytes"),
        (np.zeros((2, 0)), ValueError, "ready embeddings have shape"),
        (np.zeros((2, 4, 4, 3)), ValueError, "Pictures must be uint8"),
        (np.zeros((2, 4, 5)), ValueError, r"photos\[0\] holds 4 pictures but max_images is 3"),
    ],
)
def test_errors_name_argument_row_and_mend(images, error, message):
    with pytest.raises(error, match=message):
        collect_images(images, 2, argument="photos")


def test_lazily_opened_damaged_image_is_found_at_once():
    truncated = Image.open(BytesIO(encoded(NOISE)[:-60]))
    with pytest.raises(ValueError, match=r"images\[1\] cannot be decoded: .*truncated"):
        collect_images([None, truncated], 2)


def test_damaged_file_is_named_when_it_is_decoded(tmp_path):
    path = tmp_path / "damaged.jpg"
    path.write_bytes(encoded(NOISE, "JPEG")[:-20])
    items = collect_images([RED, [RED, path]], 2)
    with pytest.raises(ValueError, match=r"images\[1\]\[1\] cannot be decoded: .*pass None"):
        items.decode(1)


@pytest.mark.skipif(os.name != "posix", reason="has no pipes")
def test_only_regular_files_of_a_bounded_size_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(2**40)  # no byte of it is on the disk
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match=r"images\[0\] is a path but .* and no file"):
            collect_images([path], 1)
    monkeypatch.setattr(_decoding, "MAX_BYTES", 1000)
    for entry in (large, BytesIO(bytes(1001))):
        with pytest.raises(ValueError, match=r"images\[0\] is .*more than 1000 bytes"):
            collect_images([entry], 1)


def test_all_bad_pictures_are_reported(tmp_path):
    entries = [str(tmp_path / f"{number}.png") for number in range(7)]
    with pytest.raises(ValueError, match="7 pictures cannot be used") as raised:
        collect_images(entries, 7)
    with pytest.warns(UserWarning, match="pictures are left out: 7") as warned:
        collect_images(entries, 7, missing="warn")
    rows = [f"images[{number}]" for number in range(7)]
    for problems in (raised.value.problems, warned[0].message.problems):
        assert [problem.partition(" ")[0] for problem in problems] == rows


# --- ready embeddings ---


def test_embeddings_of_one_picture_an_item():
    embeddings = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
    features = collect_images(embeddings, 3)
    assert features.vectors.dtype == np.float32
    np.testing.assert_array_equal(features.vectors, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(features.index, [[0], [-1], [1]])
    assert features.dimension == 2
    assert collect_images(features, 3) is features
    with pytest.raises(ValueError, match="length 3 but there are 4 rows"):
        collect_images(features, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_embeddings_must_be_finite(value, shape):
    embeddings = np.ones(shape)
    embeddings[(2, *(-1 for _ in shape[1:]))] = value
    place = r"images\[2\]" if len(shape) == 2 else r"images\[2, 1\]"
    with pytest.raises(ValueError, match=place):
        collect_images(embeddings, 4)


@settings(deadline=None)
@given(
    arrays(np.float32, (5, 3, 2), elements=st.floats(-4, 4, width=32)),
    arrays(np.bool_, (5, 3)),
)
def test_embeddings_keep_their_items(embeddings, missing):
    embeddings[missing] = np.nan
    before = embeddings.copy()
    features = collect_images(embeddings, 5)
    np.testing.assert_array_equal(embeddings, before)
    assert len(features) == 5
    assert features.index.shape[1] == max(1, (~missing).sum(axis=1).max())
    for row in range(5):
        kept = features.index[row][features.index[row] >= 0]
        # missing ones stand last, the others in their order
        np.testing.assert_array_equal(features.index[row][: len(kept)], kept)
        np.testing.assert_array_equal(features.vectors[kept], embeddings[row][~missing[row]])
        expected = embeddings[row][~missing[row]].mean(axis=0) if len(kept) else np.zeros(2)
        np.testing.assert_allclose(features.mean()[row], expected, rtol=1e-5, atol=1e-6)


def test_features_take_and_mean():
    vectors = np.array([[1, 0], [0, 2], [4, 4]], dtype=np.float32)
    features = ImageFeatures(vectors, np.array([[0, 1], [2, -1], [-1, -1]], dtype=np.int32))
    expected = np.array([[0.5, 1], [4, 4], [0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(features.mean(), expected)
    assert features.mean().dtype == np.float32
    for rows in ([2, 0, 0], slice(1, 3), np.array([True, False, True])):
        part = features.take(rows)
        assert part.vectors is vectors
        np.testing.assert_array_equal(part.mean(), expected[rows])
        assert len(part) == len(expected[rows])
    again = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(again.index, features.index)


# --- decoding ---


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_lossless_files_keep_their_pixels(array):
    for format in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(pixels(encoded(array, format)), array)
    np.testing.assert_array_equal(pixels(array), array)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_alpha_is_composited_on_white(mode):
    rgba = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    rgba.putpixel((2, 0), (0, 0, 0, 51))
    source = {"PA": "P", "La": "LA"}.get(mode)
    image = rgba.convert("LA").convert(mode) if mode in ("LA", "La") else rgba.convert(mode)
    if source == "P":
        assert image.mode == "PA"
    np.testing.assert_array_equal(pixels(image)[0, :, 0], [0, 255, 204])
    if mode in ("RGBA", "LA"):
        np.testing.assert_array_equal(pixels(encoded(image))[0, :, 0], [0, 255, 204])


def test_palettes():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    for format in ("PNG", "GIF", "BMP"):
        expected = [[[10, 20, 30], [200, 100, 0]]]
        np.testing.assert_array_equal(pixels(encoded(image, format)), expected)
    one_transparent = encoded(image, "PNG", transparency=1)
    np.testing.assert_array_equal(pixels(one_transparent), [[[10, 20, 30], [255, 255, 255]]])
    graded = encoded(image, "PNG", transparency=b"\xff\x00")
    np.testing.assert_array_equal(pixels(graded), [[[10, 20, 30], [255, 255, 255]]])


def test_transparent_colour_of_an_opaque_mode():
    data = encoded(Image.fromarray(RED), transparency=(255, 0, 0))
    assert (pixels(data) == 255).all()
    grey = encoded(Image.fromarray(NOISE[..., 0]), transparency=int(NOISE[0, 0, 0]))
    np.testing.assert_array_equal(pixels(grey)[0, 0], [255, 255, 255])


def test_grey_and_black_and_white():
    grey = NOISE[..., 0]
    np.testing.assert_array_equal(pixels(encoded(grey))[..., 1], grey)
    bits = Image.fromarray(grey > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(pixels(encoded(bits))[..., 1], np.where(grey > 100, 255, 0))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(values), format)
    np.testing.assert_array_equal(pixels(data)[0, :, 0], [0, 1, 128, 255])


def test_sixteen_bit_grey_with_a_transparent_value():
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", 7))
    data += chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">2H", 257, 7))) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(pixels(data)[0, :, 0], [1, 255])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], dtype=np.float32), [0, 100, 255]),
        (np.array([[-5, 10, 200]], dtype=np.int32), [0, 10, 200]),
        (np.array([[0, 257, 65535]], dtype=np.int32), [0, 1, 255]),
        (np.array([[0, 10**6]], dtype=np.int32), [0, 255]),
        (np.zeros((1, 2), dtype=np.float32), [0, 0]),
    ],
)
def test_wide_grey_values_are_scaled_to_their_white(values, expected):
    image = Image.fromarray(values)
    assert image.mode in ("F", "I")
    np.testing.assert_array_equal(pixels(image)[0, :, 0], expected)


def test_float_pixels_must_be_finite():
    image = Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32))
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        decode_image(image)


def test_cmyk():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for format in ("JPEG", "TIFF"):
        np.testing.assert_allclose(pixels(encoded(image, format))[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr"])
def test_other_colour_spaces(mode):
    np.testing.assert_allclose(
        pixels(Image.fromarray(RED).convert(mode))[0, 0], [255, 0, 0], atol=3
    )


UNDO = {  # what was done to the upright picture before it was saved with this orientation
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UNDO)
def test_exif_rotation_is_applied(orientation, format):
    image = Image.fromarray(np.ascontiguousarray(UNDO[orientation](NOISE)))
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, format, exif=exif)
    np.testing.assert_array_equal(pixels(data), NOISE)
    np.testing.assert_array_equal(pixels(Image.open(BytesIO(data))), NOISE)


def test_rotated_photograph():
    photograph = np.zeros((16, 24, 3), dtype=np.uint8)
    photograph[:, :8] = 255  # white at its left
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = pixels(encoded(photograph, "JPEG", exif=exif))
    assert decoded.shape == (24, 16, 3)
    assert decoded[:7].min() > 200  # white at the top
    assert decoded[9:].max() < 60


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"])
def test_damaged_exif_does_no_harm(exif):
    data = encoded(RED, "JPEG", exif=exif)
    np.testing.assert_allclose(pixels(data), RED, atol=3)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert Image.open(BytesIO(data)).n_frames == 2
        np.testing.assert_array_equal(pixels(data)[0, 0], [255, 0, 0])


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_errors(format, share, lenient, monkeypatch):
    # Other libraries set this, and PIL then fills up with grey.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    noise = np.random.RandomState(0).randint(0, 256, size=(64, 64, 3), dtype=np.uint8)
    data = encoded(noise, format)
    assert pixels(data).shape == noise.shape  # the whole file can be read
    with pytest.raises(ValueError, match="picture 3 cannot be decoded"):
        decode_image(data[: int(share * len(data))], name="picture 3")


@pytest.mark.parametrize("data", [b"", b"no picture", b"<svg></svg>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(data):
    with pytest.raises(ValueError, match=r"image cannot be decoded: .*replace the file"):
        decode_image(data)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA"]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
)
def test_damage_gives_a_picture_or_a_value_error(format, place, rubbish):
    data = bytearray(encoded(NOISE, format))
    data[place : place + len(rubbish)] = rubbish
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(ValueError):  # anything else fails the test
            assert decode_image(bytes(data)).mode == "RGB"


@pytest.mark.parametrize("action", ["ignore", "error", "default"])
@pytest.mark.parametrize("side", [11, 40])  # PIL itself only warns below twice the limit
def test_decompression_bombs_are_refused(side, action, monkeypatch):
    data = encoded(Image.new("RGB", (10, side)))
    opened = Image.open(BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        filters = list(warnings.filters)
        with pytest.raises(ValueError, match=r"cannot be decoded: .*bomb"):
            decode_image(data)
        with pytest.raises(ValueError, match=r"images\[0\] cannot be decoded: .*bomb"):
            collect_images([opened], 1)
        assert warnings.filters == filters
    assert Image.MAX_IMAGE_PIXELS == 100
    assert decode_image(encoded(Image.new("RGB", (10, 10)))).size == (10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(data).size == (10, side)


def test_programs_are_not_run():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(BytesIO(eps)).format == "EPS"
    with pytest.raises(ValueError, match="EPS is a program"):
        decode_image(eps)


def test_image_without_pixels():
    with pytest.raises(ValueError, match="no pixels"):
        decode_image(Image.new("RGB", (0, 4)))
