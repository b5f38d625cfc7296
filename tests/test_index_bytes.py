"""Bytes of indexes that are damaged or made to do harm."""

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, EntryPoints

import faiss
import numpy as np
import pytest

from skxmc._runtime import _plugins
from skxmc._runtime._plugins import find_plugin
from skxmc.indexes import HNSW, IVF, Exact, Index, Storable, make_index
from skxmc.indexes._bytes import checksum, pack, unpack

N, WIDTH = 60, 8


@pytest.fixture
def vectors(rng):
    vectors = rng.normal(size=(N, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def with_payload(written, payload):
    """The header of an index, with a right checksum, before another payload."""
    header, _ = unpack(written)
    return pack({**header, "checksum": checksum(payload)}, payload)


def with_header(written, **changes):
    header, payload = unpack(written)
    return pack({**header, **changes}, payload)


def factory(description, n=N, width=WIDTH, metric=faiss.METRIC_INNER_PRODUCT):
    """Bytes of an index that faiss makes."""
    index = faiss.index_factory(width, description, metric)
    data = np.random.RandomState(1).normal(size=(n, width)).astype(np.float32)
    index.train(data)
    index.add(data)
    if description.startswith("IVF"):
        index.set_direct_map_type(faiss.DirectMap.Array)
    return faiss.serialize_index(index)


L2 = faiss.METRIC_L2
HNSW_OURS, IVF_OURS = "HNSW8,Flat", "IVF4,Flat"


@pytest.mark.parametrize(
    ("index", "payload", "message"),
    [
        (HNSW(m=8), lambda: factory("Flat"), "'IxFI' stands where IHNf or IHNs must stand"),
        (HNSW(m=8), lambda: factory(IVF_OURS), "'IwFl' stands where"),
        (HNSW(m=8), lambda: factory("SQ8"), "'IxSQ' stands where"),
        (HNSW(m=8), lambda: factory("HNSW8,SQ4"), "its numbers are of type 1"),
        (HNSW(m=8), lambda: factory(HNSW_OURS, width=4), "width 4 instead of 8"),
        (HNSW(m=8), lambda: factory(HNSW_OURS, n=180), "180 vectors instead of 60"),
        (HNSW(m=8), lambda: factory(HNSW_OURS, n=20), "20 vectors instead of 60"),
        (HNSW(m=8), lambda: factory(HNSW_OURS, metric=L2), "its metric is number 1"),
        (IVF(), lambda: factory(HNSW_OURS), "'IHNf' stands where IwFl must stand"),
        (IVF(), lambda: factory("IVF4,SQ8"), "'IwSq' stands where"),
        (IVF(), lambda: factory(IVF_OURS, width=4), "width 4 instead of 8"),
        (IVF(), lambda: factory(IVF_OURS, n=70), "70 vectors instead of 60"),
        (IVF(), lambda: factory(IVF_OURS, metric=L2), "its metric is number 1"),
        (Exact(), lambda: factory("Flat"), "bytes are not 60 vectors of width 8"),
    ],
)  # fmt: skip
def test_payload_of_something_else(vectors, index, payload, message):
    written = index.build(vectors).to_bytes()
    with pytest.raises(ValueError, match=message):
        Storable.from_bytes(with_payload(written, payload()))


@pytest.mark.parametrize("kind", [HNSW_OURS, "HNSW8,SQ8", "HNSW8,SQfp16", IVF_OURS])
@pytest.mark.parametrize("n", [0, 1, N, 3000])
def test_what_faiss_writes_is_taken(kind, n):
    """The check refuses nothing that this version of faiss writes."""
    if n == 0:
        make = {"H": lambda: HNSW(m=8), "I": IVF}[kind[0]]
        assert len(Storable.from_bytes(make().build(np.empty((0, WIDTH))).to_bytes())) == 0
        return
    kind = "IVF1,Flat" if kind == IVF_OURS and n == 1 else kind
    index = HNSW(m=8) if kind.startswith("HNSW") else IVF()
    written = index.build(np.random.RandomState(0).normal(size=(n, WIDTH))).to_bytes()
    assert len(Storable.from_bytes(with_payload(written, factory(kind, n=n)))) == n


def test_lists_in_a_file_are_refused_before_the_file_is_opened(vectors, tmp_path):
    victim = tmp_path / "lists"
    index = faiss.index_factory(WIDTH, IVF_OURS, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(victim))
    index.replace_invlists(lists)
    index.add(vectors)
    index.set_direct_map_type(faiss.DirectMap.Array)
    payload = faiss.serialize_index(index)
    assert str(victim).encode() in payload.tobytes()
    victim.unlink()
    written = IVF().build(vectors).to_bytes()
    with pytest.raises(ValueError, match="'ilod' stands where ilar must stand"):
        Storable.from_bytes(with_payload(written, payload))


def test_links_and_places_out_of_range(vectors):
    """Faiss would follow them."""
    index = HNSW(m=8).build(vectors)
    graph = faiss.vector_to_array(index._faiss.hnsw.neighbors)
    for wrong in (N, 10**9, -2):
        graph[3] = wrong
        faiss.copy_array_to_vector(graph, index._faiss.hnsw.neighbors)
        with pytest.raises(ValueError, match="its links lead out of range"):
            Storable.from_bytes(index.to_bytes())
    index = IVF().build(vectors)
    written = index.to_bytes()
    first = 107 + 4 * WIDTH * index._faiss.nlist  # place of the map, behind the centroids
    for place, message in ((-8, "its lists hold vectors out of range"), (first, "its map leads")):
        payload = unpack(written)[1].copy()
        payload[place:][:8] = np.array([2**40], dtype="<i8").view(np.uint8)
        with pytest.raises(ValueError, match=message):
            Storable.from_bytes(with_payload(written, payload))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [N, WIDTH + 1]}, "damaged"),
        ({"shape": [2**60, 2**60]}, "damaged"),
        ({"shape": [-1, WIDTH]}, "not the shape of vectors"),
        ({"shape": [True, WIDTH]}, "not the shape of vectors"),
        ({"shape": 5}, "no 'shape'"),
        ({"parameters": {"memory": "/"}}, "are not the parameters of"),
        ({"index": None}, "no 'index'"),
        ({"index": "os:system"}, "'os:system' is not one of the indexes"),
        ({"index": "skxmc.indexes._exact:Exact"}, "is not one of the indexes"),
        ({"index": "__class__"}, "is not one of the indexes"),
    ],
)
@pytest.mark.parametrize("make", [Exact, HNSW, IVF])
def test_headers_of_something_else(vectors, make, changes, message):
    with pytest.raises(ValueError, match=message):
        Storable.from_bytes(with_header(make().build(vectors).to_bytes(), **changes))


def test_parameters_in_a_header_are_validated(vectors):
    written = HNSW().build(vectors).to_bytes()
    parameters = {**HNSW().get_params(), "ef_search": "many"}
    with pytest.raises(ValueError, match="'ef_search' parameter of HNSW"):
        Storable.from_bytes(with_header(written, parameters=parameters))
    # No threads or candidates without end.
    parameters = {**HNSW().get_params(), "ef_search": 2**40, "n_jobs": 2**30}
    index = Storable.from_bytes(with_header(written, parameters=parameters))
    np.testing.assert_array_equal(index.search(vectors, 1)[0][:, 0], np.arange(N))
    assert len(index.add(vectors)) == 2 * N


def test_header_that_nests_without_end():
    text = np.frombuffer(b"[" * 60_000, np.uint8)
    start = np.array([len(text), checksum(text)], dtype="<u4").view(np.uint8)
    with pytest.raises(ValueError, match="not JSON"):
        Storable.from_bytes(np.concatenate((start, text)))


@pytest.mark.parametrize("index", ["Exact()", "HNSW(m=4)", "HNSW(m=4, storage='int8')", "IVF()"])
def test_bit_flips_and_truncation(index):
    """In a process of its own, which a crash would end: each is refused, or does no harm.

    A checksum notices what happens by accident. With a checksum that was made to fit, the checks
    of what the payload claims stand alone.
    """
    code = f"""
        import numpy as np
        from skxmc.indexes import HNSW, IVF, Exact, Storable
        from skxmc.indexes._bytes import checksum, pack, unpack
        rng = np.random.RandomState(0)
        vectors = rng.normal(size=({N}, {WIDTH})).astype(np.float32)
        index = {index}.build(vectors)
        written = index.to_bytes()
        header, payload = unpack(written)

        def refused(array):
            try:
                found = Storable.from_bytes(array)
            except ValueError:
                return True
            found.search(vectors[:5], 10)
            found.add(vectors[:9]).search(vectors[:5], 70)
            found.vectors(np.arange(60))
            return False

        for end in np.unique(np.linspace(0, len(written) - 1, 60).astype(int)):
            assert refused(written[:end]), end
        start = len(written) - len(payload) if index._has_checksum is False else len(written)
        for trial in range(200):
            place = rng.randint(start)
            flipped = written.copy()
            flipped[place] ^= 1 << rng.randint(8)
            assert refused(flipped), place
        if index._has_checksum:
            taken = 0
            for trial in range(300):
                place = rng.randint(min(len(payload), 800) if trial % 2 else len(payload))
                flipped = payload.copy()
                flipped[place] ^= 1 << rng.randint(8)
                taken += not refused(pack({{**header, "checksum": checksum(flipped)}}, flipped))
            assert taken < 270, taken
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "done\n", (done.returncode, done.stderr)


# ---------------------------------------------------------------------------------------- plug-ins


class Registered(Exact):
    name = "registered"


@pytest.fixture
def entry_points(monkeypatch):
    """What an installed package would register."""
    known = EntryPoints(
        EntryPoint(name, value, "skxmc.indexes")
        for name, value in {
            "theirs": f"{__name__}:Registered",
            "exact": "collections:Counter",
            "text": "string:digits",
            "other": "collections:Counter",
        }.items()
    )
    monkeypatch.setattr(_plugins, "entry_points", lambda group: known.select(group=group))


def test_an_index_of_another_package(entry_points):
    assert type(make_index("theirs", 10, 4)) is Registered
    assert type(make_index("exact", 10, 4)) is Exact  # ours cannot be replaced
    with pytest.raises(ValueError, match="'other', 'pgvector', 'qdrant', 'text', 'theirs'"):
        make_index("flat", 10, 4)
    with pytest.raises(ValueError, match=r"text = 'string:digits' .* not a class"):
        make_index("text", 10, 4)
    with pytest.raises(TypeError, match="not a subclass of Index"):
        make_index("other", 10, 4)


def test_bytes_of_a_class_that_was_defined_here(vectors, entry_points):
    again = Storable.from_bytes(Registered().build(vectors).to_bytes())
    assert type(again) is Registered
    with pytest.raises(ValueError, match="is not a Storable"):
        Storable.from_bytes(with_header(Exact().build(vectors).to_bytes(), index="other"))


def test_a_class_cannot_take_the_place_of_ours(vectors):
    class False_(Storable):
        name = "exact"

    assert type(Storable.from_bytes(Exact().build(vectors).to_bytes())) is Exact
    assert issubclass(False_, Index)


def test_find_plugin():
    known = {"one": Exact, "two": "collections:Counter"}
    assert find_plugin("things", "one", known) is Exact
    assert find_plugin("things", "two", known).__name__ == "Counter"
    with pytest.raises(
        ValueError, match=r"'three' is not one of the things, .*'one', 'two'; .*'skxmc\.things'"
    ):
        find_plugin("things", "three", known)
