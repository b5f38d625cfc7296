"""Pictures of a benchmark: from addresses in metadata to vectors that the reader finds."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pictures_served import png, shop
from PIL import Image
from pyarrow import parquet

from skxmc._cli._main import main
from skxmc.datasets import DownloadLimits, _picture_blocks, fetch_image_vectors, load_xmc_repository
from skxmc.datasets._addresses import read_addresses
from skxmc.datasets._downloads import Downloader, DownloadError, is_public
from skxmc.datasets._picture_blocks import make_thumbnail

ROOT = Path(__file__).resolve().parents[1]
LIMITS = DownloadLimits(allow_private=True, seconds=0.5, retries=1, pause=0, max_bytes=100_000)


@pytest.fixture(scope="module")
def server():
    with shop() as server:
        yield server


def write_lines(path, records):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.writelines(f"{json.dumps(record)}\n" for record in records)
    return path


def benchmark(folder, n_train=5, n_labels=3):
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in ("trn", n_train), ("tst", 2), ("lbl", n_labels):
        records = [{"uid": f"{name}{i}", "title": f"{name} {i}", "target_ind": [0]}
                   for i in range(n)]  # fmt: skip
        write_lines(folder / f"{name}.json.gz", records)
    return folder


def color(images):
    """An encoder: the colour in the middle of a picture."""
    return np.array([image.getpixel((image.width // 2, image.height // 2)) for image in images])


def fetch(folder, metadata, **options):
    return fetch_image_vectors(
        folder, metadata, color, name="color", **{"limits": LIMITS, **options}
    )


def files_of(folder):
    """Digests of all files, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- metadata ---


def test_addresses_of_amazon_reviews_2023_in_both_of_its_forms(tmp_path):
    pictures = [
        {"thumb": "t1", "large": "l1", "hi_res": None},
        {"thumb": "t2", "large": None, "hi_res": "h2"},
        {"thumb": "t3", "large": "l3", "hi_res": "h3"},
    ]
    columns = {size: [picture[size] for picture in pictures] for size in pictures[0]}
    path = write_lines(
        tmp_path / "meta.jsonl.gz",
        [
            {"parent_asin": "A", "images": []},
            {"parent_asin": "A", "images": pictures},
            {"parent_asin": "A", "images": [{"large": "later"}]},
            {"parent_asin": "other", "asin": "B", "images": columns},
            {"parent_asin": "unknown", "images": pictures},
        ],
    )
    found = read_addresses([path], {"A", "B", "C"}, max_images=2, size="large")
    assert found == {"A": ["l1", "h2"], "B": ["l1", "h2"]}
    found = read_addresses([path], {"A"}, max_images=3, size="hi_res")
    assert found == {"A": ["l1", "h2", "h3"]}


def test_addresses_of_parquet_and_of_plain_lists(tmp_path):
    table = pa.table({"uid": ["A", "B", "C"], "img_urls": [["a", "a", "b"], [], None]})
    parquet.write_table(table, tmp_path / "img_urls.parquet")
    table = pa.table({"code": [7], "picture": ["c"]})
    parquet.write_table(table, tmp_path / "own.parquet")
    lines = write_lines(tmp_path / "meta.jsonl", [{"asin": "B", "imageURL": ["d"]}])
    options = {"max_images": 3, "size": "large"}
    found = read_addresses([tmp_path / "img_urls.parquet", lines], {"A", "B"}, **options)
    assert found == {"A": ["a", "b"], "B": ["d"]}
    own = {"id_column": "code", "address_column": "picture"}
    assert read_addresses([tmp_path / "own.parquet"], {"7"}, **options, **own) == {"7": ["c"]}
    with pytest.raises(ValueError, match="columns code, picture, and none of them is known"):
        read_addresses([tmp_path / "own.parquet"], {"7"}, **options)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"sku": "A", "images": []}, "no ids under parent_asin, asin, uid, id"),
        ({"asin": "A", "images": 3}, "the pictures of line 1 of .* are of type int"),
        ({"asin": "A", "images": [["a"]]}, r"the pictures of line 1 of .* hold \['a'\]"),
    ],
)
def test_other_metadata_is_refused(tmp_path, record, message):
    path = write_lines(tmp_path / "meta.jsonl", [record])
    with pytest.raises(ValueError, match=message):
        read_addresses([path], {"A"}, max_images=3, size="large")


# --- downloads ---


@pytest.mark.parametrize(
    ("place", "reason", "n_asked"),
    [
        ("missing", "status 404", 1),
        ("redirect/9/1", "too many redirects", 1),
        ("huge", "too large", 1),
        ("endless", "too large", 1),
        ("packed", "packed by the server", 1),
        ("slow", "too slow", 2),
        ("drops", "too slow", 2),
        ("cut", "no connection", 2),
        ("busy/9", "status 503", 2),
    ],
)
def test_what_goes_wrong_has_a_reason_and_is_retried_if_it_may_pass(server, place, reason, n_asked):
    server.asked.clear()
    with Downloader(LIMITS, "test") as downloader, pytest.raises(DownloadError) as error:
        downloader.fetch(f"{server.address}/{place}")
    assert (error.value.reason, error.value.temporary) == (reason, n_asked > 1)
    assert server.asked[f"/{place}"] == n_asked


def test_redirects_and_retries_lead_to_the_picture(server):
    server.asked.clear()
    with Downloader(LIMITS, "test") as downloader:
        assert downloader.fetch(f"{server.address}/redirect/5/1").startswith(b"\x89PNG")
        assert downloader.fetch(f"{server.address}/busy/2") == png("green")


@pytest.mark.parametrize(
    "address",
    ["http://localhost:1/", "http://127.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/",
     "http://169.254.169.254/latest", "http://2130706433/", "http://0.0.0.0/"],
)  # fmt: skip
def test_private_networks_are_out_of_reach(address):
    limits = DownloadLimits(retries=0)
    with Downloader(limits, "test") as downloader, pytest.raises(DownloadError) as error:
        downloader.fetch(address)
    assert error.value.reason in ("private network", "no connection")  # IPv6 may be off


def test_a_redirect_into_a_private_network_is_refused(server, monkeypatch):
    # The shop itself counts as public here, and what it redirects to does not.
    from skxmc.datasets import _downloads

    monkeypatch.setattr(_downloads, "is_public", lambda address: address == "127.0.0.1")
    server.away = "http://127.0.0.2:1/secret"
    with Downloader(DownloadLimits(retries=0), "test") as downloader:
        assert downloader.fetch(f"{server.address}/redirect/1/1")
        with pytest.raises(DownloadError, match="private network"):
            downloader.fetch(f"{server.address}/away")
        server.away = "file:///etc/passwd"
        with pytest.raises(DownloadError, match="not an http address"):
            downloader.fetch(f"{server.address}/away")


def test_which_addresses_are_public():
    private = """127.0.0.1 10.1.2.3 192.168.0.1 172.16.0.1 169.254.169.254 100.64.0.1 0.0.0.0 ::1 ::
    fe80::1 fc00::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2001:0:1::1 224.0.0.1 ff02::1
    255.255.255.255"""
    assert not [address for address in private.split() if is_public(address)]
    assert all(map(is_public, ["93.184.216.34", "2606:2800:220::1", "64:ff9b::5db8:d822"]))


@pytest.mark.parametrize("address", ["", "http://", "ftp://a/b", "http://[::1/", "http://a..b/"])
def test_what_is_no_address_is_counted_and_not_raised(address):
    with Downloader(LIMITS, "test") as downloader, pytest.raises(DownloadError, match="address"):
        downloader.fetch(address)


def test_limits_are_checked():
    with pytest.raises(ValueError, match="seconds is 0; pass a number above 0"):
        DownloadLimits(seconds=0)
    with pytest.raises(ValueError, match="retries is -1; pass 0 or more"):
        DownloadLimits(retries=-1)


# --- pictures and vectors ---


def test_thumbnails_are_squares_with_white_margins():
    from io import BytesIO

    image = Image.open(BytesIO(make_thumbnail(png("black", (200, 100)), 50)))
    assert image.size == (50, 50)
    assert np.allclose(image.getpixel((25, 2)), 255, atol=3)
    assert np.allclose(image.getpixel((25, 25)), 0, atol=3)
    small = Image.open(BytesIO(make_thumbnail(png("black", (20, 10)), 50)))
    assert small.size == (20, 20)  # models enlarge it as they like


def bad_metadata(folder, server):
    """Two items with pictures, one that shares them, and all that is no picture."""
    at = [f"{server.address}/{place}" for place in
          ("picture/1", "picture/2", "broken", "page", "bomb", "missing", "slow")]  # fmt: skip
    return write_lines(
        folder / "meta.jsonl.gz",
        [
            {"parent_asin": "trn0", "images": [{"large": at[0]}, {"large": at[1]}]},
            {"parent_asin": "trn1", "images": [{"large": address} for address in at[2:5]]},
            {"parent_asin": "trn2", "images": [{"large": at[5]}, {"large": at[6]}]},
            {"parent_asin": "lbl1", "images": [{"large": at[5]}, {"large": at[1]}]},
        ],
    )


def test_from_addresses_to_vectors_that_the_reader_finds(tmp_path, server):
    folder = benchmark(tmp_path / "data")
    report = fetch(folder, bad_metadata(tmp_path, server))
    assert report.coverage == {
        "train": {"items": 5, "listed": 3, "with_pictures": 1, "pictures": 2},
        "test": {"items": 2, "listed": 0, "with_pictures": 0, "pictures": 0},
        "label": {"items": 3, "listed": 1, "with_pictures": 1, "pictures": 1},
    }
    counts = {reason: failure["count"] for reason, failure in report.failures.items()}
    assert counts == {"not a picture": 3, "status 404": 1, "too slow": 1}
    assert json.loads((folder / "images_report.json").read_text())["coverage"] == report.coverage
    data = load_xmc_repository(folder)
    assert data.images_test is None
    assert data.images_train.index.tolist() == [[0, 1], *[[-1, -1]] * 4]
    assert data.label_images.index.tolist() == [[-1], [0], [-1]]
    expected = [[0, 3, 0xE5], [0, 7, 0xCA]]  # 997 and 1994
    np.testing.assert_allclose(data.images_train.vectors, expected, atol=4)  # JPEG
    np.testing.assert_allclose(data.label_images.vectors, expected[1:], atol=4)


def test_a_second_run_asks_for_nothing_and_a_retry_for_what_may_have_passed(tmp_path, server):
    folder = benchmark(tmp_path / "data")
    records = [
        {"asin": "trn0", "images": [f"{server.address}/closed/1", f"{server.address}/missing/1"]},
        {"asin": "trn1", "images": [f"{server.address}/picture/5"]},
    ]
    metadata = write_lines(tmp_path / "meta.jsonl", records)
    server.open.clear()
    first = fetch(folder, metadata)
    before = files_of(folder)
    server.open.set()
    server.asked.clear()
    assert fetch(folder, metadata).coverage == first.coverage
    assert files_of(folder) == before
    assert not server.asked
    again = fetch(folder, metadata, retry_failed=True)
    assert server.asked == {"/closed/1": 1}
    assert again.coverage["train"]["with_pictures"] == 2
    assert load_xmc_repository(folder).images_train.index[:2].tolist() == [[0], [1]]
    np.testing.assert_allclose(
        load_xmc_repository(folder).images_train.vectors[0], [0, 0, 255], atol=4
    )


# The n-th file of a run is not put in its place any more.
KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
from skxmc.datasets import _picture_blocks
from test_fetching import fetch
_picture_blocks.BLOCK = 2
left, replace = int(sys.argv[3]), os.replace
def replaced(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)
os.replace = replaced
fetch(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_run_goes_on_and_makes_the_same_files(tmp_path, server, monkeypatch):
    addresses = [f"{server.address}/picture/{number}" for number in range(5)]
    records = [{"uid": f"trn{i}", "urls": addresses[i : i + 2]} for i in range(4)]
    records.append({"uid": "lbl2", "urls": [addresses[3], f"{server.address}/page"]})
    metadata = write_lines(tmp_path / "meta.jsonl", records)
    whole, killed = (benchmark(tmp_path / name) for name in ("whole", "killed"))
    monkeypatch.setattr(_picture_blocks, "BLOCK", 2)
    fetch(whole, metadata)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    codes = []
    while not codes or codes[-1]:
        assert len(codes) < 20
        # Two files more each time, and the writing of the last ones starts again.
        arguments = [str(killed), str(metadata), str(2 + len(codes))]
        done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, cwd=ROOT)
        codes.append(done.returncode)
        assert done.returncode in (0, -signal.SIGKILL)
    assert len(codes) > 3
    assert files_of(killed) == files_of(whole)


def test_other_inputs_do_not_mix(tmp_path, server):
    folder = benchmark(tmp_path / "data")
    metadata = write_lines(
        tmp_path / "meta.jsonl", [{"uid": "trn0", "url": f"{server.address}/picture/1"}]
    )
    fetch(folder, metadata)
    with pytest.raises(ValueError, match="has other vectors or maps of pictures already"):
        fetch_image_vectors(folder, metadata, color, name="other", limits=LIMITS)
    with pytest.raises(ValueError, match="holds pictures of other addresses or of another size"):
        fetch(folder, metadata, output=tmp_path / "out", work=folder / "images.work", side=99)
    other = fetch_image_vectors(
        folder, metadata, lambda images: np.ones((len(images), 4)), name="ones", limits=LIMITS,
        output=tmp_path / "out", work=folder / "images.work",
    )  # fmt: skip
    assert other.files[0].name == "trn_embs_imgs_3_4_ones.npy"


def test_errors_say_what_to_do(tmp_path, server):
    folder = benchmark(tmp_path / "data")
    nowhere = write_lines(tmp_path / "other.jsonl", [{"uid": "X", "url": "http://a/b"}])
    with pytest.raises(ValueError, match="none of the 10 ids"):
        fetch(folder, nowhere)
    missing = write_lines(
        tmp_path / "missing.jsonl", [{"uid": "trn0", "url": f"{server.address}/missing"}]
    )
    with pytest.raises(ValueError, match=r"none of 1 pictures could be downloaded \(status 404\)"):
        fetch(folder, missing)
    with pytest.raises(ValueError, match="name is 'a/b'"):
        fetch_image_vectors(folder, missing, color, name="a/b")
    with pytest.raises(ValueError, match="size is 'small'; pass one of thumb, large, hi_res"):
        fetch(folder, missing, size="small")
    (tmp_path / "raw").mkdir()
    for name in ("trn", "lbl"):
        (tmp_path / "raw" / f"{name}.raw.txt").write_text("a\nb\n")
    (tmp_path / "raw" / "trn_X_Y.txt").write_text("2 2\n0:1\n1:1\n")
    with pytest.raises(ValueError, match=r"the texts in .* have no ids"):
        fetch(tmp_path / "raw", missing)


def test_the_encoder_must_return_a_vector_for_each_picture(tmp_path, server):
    folder = benchmark(tmp_path / "data")
    metadata = write_lines(
        tmp_path / "meta.jsonl", [{"uid": "trn0", "url": f"{server.address}/picture/1"}]
    )
    with pytest.raises(ValueError, match=r"shape \(1,\) for 1 pictures; it must return finite"):
        fetch_image_vectors(folder, metadata, lambda images: [1.0], name="bad", limits=LIMITS)


def test_the_command_downloads_encodes_and_reports(tmp_path, server, capsys):
    folder = benchmark(tmp_path / "data")
    metadata = bad_metadata(tmp_path, server)
    arguments = ["images", folder, metadata, "-q", "--device", "cpu", "--limit", "seconds=0.5",
                 "--limit", "retries=0"]  # fmt: skip
    assert main([*map(str, arguments)]) == 2
    assert "none of 7 pictures could be downloaded (private network)" in capsys.readouterr().err
    arguments += ["--allow-private", "--work", tmp_path / "work"]
    assert main([*map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    assert "train                5           3           1       20.0%" in shown
    assert "not a picture" in shown
    data = load_xmc_repository(folder)
    assert data.images_train.vectors.shape == (2, 784)
    assert main([*map(str, arguments), "--limit", "bytes=3"]) == 2
    assert "--limit has the unknown name 'bytes'" in capsys.readouterr().err
