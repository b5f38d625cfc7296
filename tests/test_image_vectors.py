"""Ready vectors of pictures with an index, and the pickled maps beside them."""

import io
import os
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc import ViXMLClassifier
from skxmc._inputs._images import collect_images
from skxmc.datasets import image_vectors
from skxmc.datasets._image_vectors import map_vectors
from skxmc.datasets._pickles import load_object_array


def object_array(entries):
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array


def write_pickle(path, content, shape=(1,)):
    """A file as numpy.save writes it for objects, around any pickle."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": shape}
        )
        file.write(content)
    return path


ENTRIES = [[0, 2], -1, None, [], [np.int64(3)], (4,), np.array([5, 6])]
PLAIN = [[0, 2], -1, None, [], [3], [4], [5, 6]]


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_maps_of_every_protocol(protocol, tmp_path):
    content = pickle.dumps(object_array(ENTRIES), protocol=protocol)
    path = write_pickle(tmp_path / "map.npy", content, (len(ENTRIES),))
    assert load_object_array(path) == PLAIN


def test_maps_as_numpy_saves_them(tmp_path):
    path = tmp_path / "map.npy"
    np.save(path, object_array(ENTRIES))
    assert load_object_array(path) == PLAIN
    np.save(path, {"a": [1], "b": [np.int32(2), np.array([True])]}, allow_pickle=True)
    assert load_object_array(path) == {"a": [1], "b": [2, [True]]}


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class State:
    """An array whose pickle states what it likes of its memory."""

    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return *np.empty(0).__reduce__()[:2], self.state


def itself():
    entries = []
    entries.append([entries])
    return entries


OBJECT = np.dtype(object)
HOSTILE = {
    "system": Call(os.system, "exit 7"),
    "eval": Call(eval, "1"),
    "getattr": Call(getattr, "a", "upper"),
    "load": Call(np.load, "/etc/hostname"),
    "set": {1},
    "bytes": b"a",
    "fields": np.zeros(1, dtype=[("a", "i4")]),
    "text": np.array(["a"]),
    "two axes": np.zeros((2, 2)),
    "pointers": State(1, (1,), OBJECT, False, b"AAAAAAAA"),
    "too long": State(1, (9,), OBJECT, False, [1]),
    "no shape": State(1, "a", OBJECT, False, [1]),
    "no dtype": State(1, (1,), 1, False, [1]),
    "short": State(1),
    "itself": itself(),
    "deep": [[[[[1]]]]],
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_maps(name, protocol, tmp_path):
    for content in (HOSTILE[name], object_array([[1], HOSTILE[name]])):
        shape = (2,) if isinstance(content, np.ndarray) and content.dtype == OBJECT else ()
        path = write_pickle(tmp_path / "map.npy", pickle.dumps(content, protocol), shape)
        with pytest.raises(ValueError, match=r"map.npy (cannot be read|states|holds)"):
            load_object_array(path)


def test_maps_that_ask_for_memory(tmp_path):
    for content in b"Nr\xff\xff\xff\xff.", b"N\x94r\xff\xff\xff\x7f.", b"B\xff\xff\xff\x7f.":
        path = write_pickle(tmp_path / "map.npy", b"\x80\x04" + content)
        with pytest.raises(ValueError, match=r"map.npy"):
            load_object_array(path)


def test_maps_that_are_none(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.save(tmp_path / "b.npy", 3, allow_pickle=True)
    write_pickle(tmp_path / "c.npy", pickle.dumps(object_array([1, 2])), (3,))
    (tmp_path / "d.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "e.npy").write_bytes(b"nothing")
    for name in "abcde":
        with pytest.raises(ValueError, match=f"{name}.npy"):
            load_object_array(tmp_path / f"{name}.npy")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes_of_a_map(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.npy"
    buffer = io.BytesIO()
    np.save(buffer, object_array([[0, np.int64(2)], -1, np.array([1, 2])]))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(60, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(ValueError):  # anything else fails the test
        assert isinstance(load_object_array(path), (list, dict))


@given(rows=st.lists(st.lists(st.integers(-2, 4), max_size=4), max_size=6))
@settings(max_examples=50, deadline=None)
def test_index_keeps_the_first_pictures(rows):
    images = image_vectors(np.eye(5, 3, dtype=np.float32), rows, max_images=2)
    expected = [[picture for picture in row if picture >= 0][:2] for row in rows]
    assert [[p for p in row if p >= 0] for row in images.index.tolist()] == expected
    assert images.index.dtype == np.int32
    assert (np.diff((images.index >= 0).astype(int), axis=1) <= 0).all()  # missing ones stand last


def test_vectors_are_not_copied(tmp_path):
    np.save(tmp_path / "vectors.npy", np.ones((4, 3), dtype=np.float32))
    vectors = map_vectors(tmp_path / "vectors.npy")
    images = image_vectors(vectors, [[0], [3]])
    assert isinstance(images.vectors, np.memmap)
    assert image_vectors(np.ones((2, 3), dtype=np.float16), [[1]]).vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "index", "message"),
    [
        (np.ones((2, 3)), [[2]], r"index\[0\] names the picture 2, and there are 2"),
        (np.ones((2, 3)), [[0], [0.0]], r"index\[1\] names the picture 0.0"),
        (np.ones((2, 3)), [[True]], "picture True"),
        (np.ones(3), [[0]], r"shape \(3,\)"),
        (np.array([[0, 1], [np.nan, 1]]), [[0]], "row 1 of vectors holds NaN"),
        (np.array([[0, 1e39]]), [[0]], "row 0 of vectors"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_wrong_vectors(vectors, index, message):
    with pytest.raises(ValueError, match=message):
        image_vectors(vectors, index)


def test_vectors_of_integers():
    with pytest.raises(TypeError, match="dtype int64; pass floats"):
        image_vectors(np.ones((2, 3), dtype=np.int64), [[0]])
    with pytest.raises(ValueError, match="max_images is 0"):
        image_vectors(np.ones((2, 3)), [[0]], max_images=0)


def test_fit_takes_vectors_with_an_index(rng):
    """As it takes the same vectors in an array."""
    X = rng.randn(40, 8).astype(np.float32)
    names = [[f"label {row % 4}"] for row in range(40)]
    vectors = rng.randn(30, 6).astype(np.float32)
    index = [[row % 30, (row + 1) % 30] if row % 3 else [] for row in range(40)]
    # An array holds a picture for each item; with as many vectors whitening learns the same.
    rows = [row for pictures in index for row in pictures]
    dense = np.full((40, 2, 6), np.nan, dtype=np.float32)
    for row, pictures in enumerate(index):
        dense[row, : len(pictures)] = vectors[pictures]
    ends = np.cumsum([0, *map(len, index)])
    each_once = [list(range(*ends[row : row + 2])) for row in range(40)]
    ranked = []
    for images in image_vectors(vectors[rows], each_once), dense:
        model = ViXMLClassifier(encoder="precomputed", random_state=0, epochs=2)
        model.fit(X, names, images=images)
        ranked.append(model.predict_topk(X, k=2, images=images))
    for indexed, in_array in zip(*ranked, strict=True):
        np.testing.assert_array_equal(indexed, in_array)
    shared = image_vectors(vectors, index)
    model.fit(X, names, images=shared)
    some = model.predict_topk(X[:5], k=2, images=shared.take(slice(0, 5)))
    np.testing.assert_array_equal(some[0], model.predict_topk(X, k=2, images=shared)[0][:5])


def test_more_pictures_than_the_estimator_takes():
    images = image_vectors(np.ones((3, 2)), [[0], [0, 1, 2]])
    assert collect_images(images, 2) is images
    with pytest.raises(ValueError, match=r"images\[1\] holds 3 pictures but max_images is 2"):
        collect_images(images, 2, max_images=2)


def test_files_that_end_early(tmp_path):
    array = np.empty(2, dtype=object)
    array[:] = [[1, 70_000, 2**40], [True, 300]]  # numbers of every width
    for protocol in (3, 4):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|O", "fortran_order": False, "shape": (2,)}
        )
        start = stream.tell()
        pickle.dump(array, stream, protocol=protocol)
        content = stream.getvalue()
        path = tmp_path / "cut.npy"
        path.write_bytes(content)
        assert load_object_array(path) == [[1, 70_000, 2**40], [True, 300]]
        for end in range(start, len(content)):
            path.write_bytes(content[:end])
            with pytest.raises(ValueError, match="cannot be read"):
                load_object_array(path)
