"""The service over real HTTP: what predict_topk gives, limits, reloads, errors in one sentence."""

import base64
import io
import json
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis import checks
from served import WORDS, fit_small, serving, texts_and_tags, thumbnails

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc.datasets import load_table
from skxmc.serving import Limits, create_app, load_model

TEXTS = texts_and_tags(24, seed=1)[0]
SCORES = {"rtol": 1e-5, "atol": 1e-6}  # a batch of another size rounds in another way


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tiny encoder, and two saved models with other label names."""
    folder = tmp_path_factory.mktemp("serving")
    fit_small(folder).save(folder / "model")
    fit_small(folder, prefix="b:").save(folder / "other")
    return folder


@pytest.fixture(scope="module")
def client(folder):
    limits = Limits(body_bytes=200_000, characters=500, documents=30, k=12, seconds=30)
    with serving(create_app(folder / "model", limits=limits, reload_seconds=None)) as client:
        yield client


def picture(color=(200, 30, 30), size=(6, 4), format="PNG"):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format)
    return file.getvalue()


def assert_answers(response, model, texts, k=5, **options):
    """The response holds what the model predicts."""
    assert response.status_code == 200, response.text
    names, scores = model.predict_topk(texts, k, return_labels=True, **options)
    found = response.json()["predictions"]
    assert [[label["id"] for label in row] for row in found] == names.tolist()
    assert [[label["text"] for label in row] for row in found] == names.tolist()
    found_scores = [[label["score"] for label in row] for row in found]
    np.testing.assert_allclose(found_scores, scores, **SCORES)


def wait_for(client, line):
    """Ask for the metrics until they have this line."""
    for _ in range(20_000):
        if line in client.get("/metrics").text.splitlines():
            return
    pytest.fail(f"the metrics never had {line!r}")


# --- predictions ---


def test_answers_are_those_of_the_model(client, folder):
    model = load_model(folder / "model")
    assert_answers(client.post("/predict", json={"texts": TEXTS}), model, TEXTS)
    assert_answers(client.post("/predict", json={"texts": [""], "k": 3}), model, [""], 3)
    form = client.post("/predict/form", data={"text": TEXTS[0], "k": "2"})
    assert_answers(form, model, TEXTS[:1], 2)
    assert client.post("/predict", json={"texts": []}).json() == {"predictions": []}


def test_concurrent_callers_get_their_own_answers(client, folder):
    model = load_model(folder / "model")

    def ask(number):
        texts = [TEXTS[(number + i) % len(TEXTS)] for i in range(number % 4 + 1)]
        k = number % 7 + 1
        return texts, k, client.post("/predict", json={"texts": texts, "k": k})

    with ThreadPoolExecutor(16) as pool:
        for texts, k, response in pool.map(ask, range(64)):
            assert_answers(response, model, texts, k)


def test_what_waits_becomes_one_batch(folder):
    app = create_app(folder / "model", reload_seconds=None)
    gate = threading.Event()
    with serving(app) as client, ThreadPoolExecutor(8) as pool:
        app.state.service.queue.run(gate.wait)
        body = {"texts": TEXTS[:2], "exclude": ["red"], "k": 12}
        asked = [pool.submit(client.post, "/predict", json=body) for _ in range(8)]
        wait_for(client, "skxmc_waiting_documents 16.0")
        gate.set()
        columns = [(row, sorted(WORDS).index("red")) for row in range(2)]
        for future in asked:
            found = future.result().json()["predictions"]
            names, _ = load_model(folder / "model").predict_topk(
                TEXTS[:2], 12, exclude=np.array(columns), return_labels=True
            )
            expected = [[name for name in row if name is not None] for row in names]
            assert [[label["id"] for label in row] for row in found] == expected
            assert "red" not in str(found)
        wait_for(client, "skxmc_batch_documents_count 1.0")
        wait_for(client, "skxmc_batch_documents_sum 16.0")


def test_only_allowed_labels_come_back(folder):
    app = create_app(folder / "model", reload_seconds=None)
    with serving(app) as client:
        body = {"texts": TEXTS[:3], "only": ["red", "car"], "k": 12}
        found = client.post("/predict", json=body).json()["predictions"]
        assert [{label["id"] for label in row} for row in found] == [{"red", "car"}] * 3
        refused = client.post("/predict", json={"texts": ["red"], "only": ["?"]})
    assert refused.status_code == 422
    assert refused.json() == {"error": "only: the model has no label '?'; leave it out."}


def test_a_wrong_request_does_not_spoil_its_batch(folder):
    app = create_app(folder / "model", reload_seconds=None)
    gate = threading.Event()
    with serving(app) as client, ThreadPoolExecutor(3) as pool:
        app.state.service.queue.run(gate.wait)
        bodies = [{"texts": ["red car"]}, {"texts": ["red"], "exclude": ["?"]}, {"texts": ["dog"]}]
        asked = [pool.submit(client.post, "/predict", json=body) for body in bodies]
        wait_for(client, "skxmc_waiting_documents 3.0")
        gate.set()
        first, wrong, last = (future.result() for future in asked)
    assert (first.status_code, wrong.status_code, last.status_code) == (200, 422, 200)
    assert wrong.json() == {"error": "exclude: the model has no label '?'; leave it out."}


def test_a_damaged_picture_does_not_spoil_its_batch(with_pictures):
    app = create_app(with_pictures)
    gate = threading.Event()
    with serving(app) as client, ThreadPoolExecutor(3) as pool:
        app.state.service.queue.run(gate.wait)
        asked = [
            pool.submit(client.post, "/predict/form", data={"text": "red"}, files={"images": file})
            for file in (picture(), truncated(), picture())
        ]
        wait_for(client, "skxmc_waiting_documents 3.0")
        gate.set()
        first, wrong, last = (future.result() for future in asked)
    assert wrong.status_code == 422
    assert_problem(wrong, r"^images\[0\]")
    for response in (first, last):
        assert_answers(response, with_pictures, ["red"], images=[[picture()]])


def test_k_above_the_number_of_labels_gives_all_of_them(folder):
    with serving(create_app(folder / "model", reload_seconds=None)) as client:
        found = client.post("/predict", json={"texts": ["red"], "k": 99}).json()["predictions"]
    assert sorted(label["id"] for label in found[0]) == sorted(WORDS)


# --- pictures ---


@pytest.fixture(scope="module")
def with_pictures(folder):
    rng = np.random.RandomState(3)
    images = [
        None if row % 5 == 0 else np.full((4, 4, 3), rng.randint(256, size=3), np.uint8)
        for row in range(60)
    ]
    return fit_small(folder, images=images, image_encoder=thumbnails)


@pytest.fixture(scope="module")
def picture_client(with_pictures):
    with serving(create_app(with_pictures, limits=Limits(pixels=100))) as client:
        yield client


def test_pictures_in_base64_and_in_forms(picture_client, with_pictures):
    pictures = [picture((200, 30, 30)), picture((10, 30, 200), format="JPEG")]
    encoded = [base64.b64encode(content).decode() for content in pictures]
    body = {"texts": TEXTS[:3], "images": [encoded[0], None, encoded]}
    images = [pictures[0], None, pictures]
    response = picture_client.post("/predict", json=body)
    assert_answers(response, with_pictures, TEXTS[:3], images=images)
    files = [("images", ("a.png", content)) for content in pictures]
    response = picture_client.post("/predict/form", data={"text": TEXTS[2]}, files=files)
    assert_answers(response, with_pictures, TEXTS[2:3], images=[pictures])
    without = picture_client.post("/predict", json={"texts": TEXTS[:2]})
    assert_answers(without, with_pictures, TEXTS[:2], images=[None, None])
    assert picture_client.get("/health").json()["takes_pictures"] is True


def test_no_string_is_taken_for_a_place(picture_client, tmp_path):
    """A path that exists, whose letters happen to be base64, is read by nobody."""
    place = tmp_path / "abcd"
    place.write_bytes(picture())
    for text in (str(place), "http://127.0.0.1/x.png", "file:///etc/passwd", "/etc/abc"):
        response = picture_client.post("/predict", json={"texts": ["red"], "images": [text]})
        assert response.status_code == 422
        assert re.search("base64|is no picture", response.json()["error"])
        response = picture_client.post("/predict/form", data={"text": "red", "images": text})
        assert response.status_code == 422


def truncated():
    return picture(size=(10, 10))[:50]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"no picture", 422, r"images\[0\] is no picture"),
        (b"", 422, r"images\[0\] is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", 422, "is no picture"),
        (picture(size=(11, 10)), 413, r"images\[0\] has 11 x 10 pixels, and at most 100"),
        (truncated(), 422, r"^images\[0\]"),
    ],
    ids=["text", "empty", "postscript", "large", "truncated"],
)
def test_bad_pictures(picture_client, content, status, message):
    body = {"texts": ["red"], "images": [[base64.b64encode(content).decode()]]}
    for response in (
        picture_client.post("/predict", json=body),
        picture_client.post("/predict/form", data={"text": "red"}, files={"images": content}),
    ):
        assert response.status_code == status, response.text
        assert re.search(message, response.json()["error"])


# --- errors ---


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 422, "JSON"),
        (b"\xff\xfe", 4, ""),
        (b"[" * 100_000, 4, ""),
        (b"null", 422, ""),
        ({}, 422, "texts: Field required."),
        ({"texts": "red"}, 422, "texts"),
        ({"texts": [1]}, 422, "texts.0"),
        ({"texts": [None]}, 422, "texts.0"),
        ({"texts": ["red"], "k": 0}, 422, "^k: "),
        ({"texts": ["red"], "k": "5"}, 422, "^k: "),
        ({"texts": ["red"], "k": True}, 422, "^k: "),
        ({"texts": ["red"], "k": 13}, 422, "k is 13, and at most 12"),
        ({"texts": ["red"] * 31}, 422, "texts has 31 documents, and at most 30"),
        ({"texts": ["r" * 501]}, 422, r"texts\[0\] has 501 characters, and at most 500"),
        ({"texts": ["red"], "wrong": 1}, 422, "^wrong: "),
        ({"texts": ["red"], "exclude": ["nothing"]}, 422, "the model has no label 'nothing'"),
        ({"texts": ["red"], "exclude": ["red"] * 1001}, 422, "exclude has 1001 labels"),
        ({"texts": ["red"], "images": ["aaaa"]}, 422, "fitted without pictures"),
        ({"texts": ["red"], "images": [None, None]}, 422, "images has 2 entries"),
        (b'{"texts": ["\\ud800"]}', 422, r"texts\[0\] holds half of"),
        (b'{"texts": ["red"], "\\ud800": 1}', 422, ""),
        (b'{"texts": ["red"], "k": 1e400}', 422, "^k: "),
        (b'{"texts": ["red"], "k": NaN}', 422, "^k: "),
        (b" " * 200_001, 413, "more than 200000 bytes"),
    ],
)
def test_bad_bodies_get_one_sentence(client, body, status, message):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(
        "/predict", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == status or response.status_code // 100 == status
    assert_problem(response, message)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/predict", 405),
        ("GET", "/labels?limit=0", 422),
        ("GET", "/labels?offset=-1", 422),
        ("GET", "/labels?offset=99999999999999999999999", 422),
        ("GET", f"/labels?prefix={'a' * 201}", 422),
        ("POST", "/predict/form", 422),
    ],
)
def test_bad_paths_and_queries(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert_problem(response)


def assert_problem(response, message=""):
    problem = response.json()
    assert list(problem) == ["error"]
    assert problem["error"].endswith(".")
    assert "\n" not in problem["error"]
    assert re.search(message, problem["error"]), problem


def test_a_body_without_length_is_counted(client):
    def parts():
        for _ in range(30):
            yield b" " * 10_000

    response = client.post("/predict", content=parts())
    assert response.status_code == 413
    assert_problem(response, "more than 200000 bytes")


def test_a_slow_body_is_given_up(folder):
    app = create_app(folder / "model", limits=Limits(seconds=0.05), reload_seconds=None)
    gate = threading.Event()

    def parts():
        yield b'{"texts": ['
        gate.wait()
        yield b"]}"

    with serving(app) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/predict", content=parts())
        wait_for(client, 'skxmc_requests_total{route="/predict",status="408"} 1.0')
        gate.set()
        assert_problem(asked.result(), "has not arrived in 0.05 s")


def test_an_answer_that_takes_too_long(folder):
    app = create_app(folder / "model", limits=Limits(seconds=0.5), reload_seconds=None)
    gate = threading.Event()
    with serving(app) as client:
        app.state.service.queue.run(gate.wait)
        response = client.post("/predict", json={"texts": ["red"]})
        assert response.status_code == 503
        assert_problem(response, "no answer within 0.5 s")
        gate.set()
        wait_for(client, "skxmc_waiting_documents 0.0")
        wait_for(client, "skxmc_batch_documents_count 0.0")  # nobody waited for it any more


def test_texts_stay_out_of_the_log(folder, caplog):
    app = create_app(folder / "model", reload_seconds=None)
    app.state.service.current.model.featurizer_ = None  # whatever goes wrong inside
    with caplog.at_level(logging.DEBUG), serving(app) as client:
        client.get("/labels?prefix=secret")
        response = client.post("/predict", json={"texts": ["a secret"], "k": 2})
        app.state.service.current._tables = ("secret",)
        broken = client.get("/labels?prefix=secret")
    assert broken.status_code == 500
    assert_problem(broken, "the service failed; its log says where")
    assert "a request failed with ValueError" in caplog.text
    assert response.status_code == 500
    assert_problem(response, "the log of the service says where")
    assert "a prediction failed with AttributeError" in caplog.text
    assert "POST /predict 500" in caplog.text
    own = [record for record in caplog.records if not record.name.startswith("http")]
    assert not any("secret" in record.getMessage() for record in own)


# --- too much at once ---


def test_overload_is_refused_and_passes(folder):
    limits = Limits(waiting_documents=4)
    app = create_app(folder / "model", limits=limits, reload_seconds=None)
    gate = threading.Event()
    with serving(app) as client, ThreadPoolExecutor(2) as pool:
        app.state.service.queue.run(gate.wait)
        waiting = pool.submit(client.post, "/predict", json={"texts": TEXTS[:4]})
        wait_for(client, "skxmc_waiting_documents 4.0")
        refused = client.post("/predict", json={"texts": ["red"]})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert_problem(refused, "too many documents are waiting")
        gate.set()
        model = load_model(folder / "model")
        assert_answers(waiting.result(), model, TEXTS[:4])
        assert_answers(client.post("/predict", json={"texts": ["red"]}), model, ["red"])


def test_what_waits_is_answered_before_the_end(folder):
    app = create_app(folder / "model", reload_seconds=None)
    gate = threading.Event()
    with ThreadPoolExecutor(4) as pool, serving(app) as client:
        app.state.service.queue.run(gate.wait)
        asked = [pool.submit(client.post, "/predict", json={"texts": [text]}) for text in TEXTS[:4]]
        wait_for(client, "skxmc_waiting_documents 4.0")
        closing = pool.submit(app.state.service.close)
        gate.set()
        closing.result()
        for text, future in zip(TEXTS, asked, strict=False):
            assert_answers(future.result(), load_model(folder / "model"), [text])
        late = client.post("/predict", json={"texts": ["red"]})
        assert late.status_code == 503
        assert_problem(late, "stopping")


# --- reload ---


def test_each_answer_is_of_one_model_while_another_is_saved(folder, tmp_path):
    old, new = load_model(folder / "model"), load_model(folder / "other")
    place = tmp_path / "served"
    old.save(place)
    app = create_app(place, reload_seconds=None)
    source = app.state.service.source
    done = threading.Event()

    def ask(client):
        answers = []
        while not done.is_set() or not answers:
            answers.append(client.post("/predict", json={"texts": TEXTS[:3], "k": 4}))
        return answers

    with serving(app) as client, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, client) for _ in range(3)]
        try:
            assert not source.check()
            new.save(place)
            assert source.check()
            last = client.post("/predict", json={"texts": TEXTS[:3], "k": 4})
            done.set()
            answers = [answer for future in asked for answer in future.result()]
        finally:
            done.set()
    assert_answers(last, new, TEXTS[:3], 4)
    for answer in answers:
        is_new = answer.json()["predictions"][0][0]["id"].startswith("b:")
        assert_answers(answer, new if is_new else old, TEXTS[:3], 4)


def test_a_new_save_is_noticed_and_a_damaged_one_is_not_taken(folder, tmp_path):
    place = tmp_path / "served"
    load_model(folder / "model").save(place)
    with serving(create_app(place, reload_seconds=0.02)) as client:
        load_model(folder / "other").save(place)
        wait_for(client, 'skxmc_reloads_total{result="loaded"} 1.0')
        (place / "skxmc.json").write_text("{")
        wait_for(client, 'skxmc_reloads_total{result="failed"} 1.0')
        response = client.post("/predict", json={"texts": TEXTS})
        assert_answers(response, load_model(folder / "other"), TEXTS)


# --- labels ---


def test_labels_are_searched_and_paged(client):
    found = client.get("/labels", params={"prefix": "B"}).json()
    assert found == {"total": 2, "labels": [{"id": w, "text": w} for w in ("bird", "blue")]}
    names = []
    for offset in (0, 5, 10, 15):
        page = client.get("/labels", params={"offset": offset, "limit": 5}).json()
        assert page["total"] == len(WORDS)
        names += [label["id"] for label in page["labels"]]
    assert names == sorted(WORDS)
    assert client.get("/labels", params={"prefix": "zebra"}).json() == {"total": 0, "labels": []}


def test_new_labels_where_they_are_allowed(client, folder, tmp_path):
    assert_problem(client.post("/labels", json={"id": "fish"}), "changes no labels")
    app = create_app(folder / "model", new_labels=tmp_path / "new", reload_seconds=None)
    with serving(app) as client:
        response = client.post("/labels", json={"id": "fish", "text": "slow bird"})
        assert (response.status_code, response.json()) == (201, {"id": "fish", "text": "slow bird"})
        model = load_model(folder / "model").add_labels(["fish"], label_text=["slow bird"])
        response = client.post("/predict", json={"texts": ["slow bird"], "k": 13})
        found = [label["id"] for label in response.json()["predictions"][0]]
        assert found == model.predict_topk(["slow bird"], 13, return_labels=True)[0][0].tolist()
        assert client.get("/labels?prefix=slow").json()["total"] == 2
        again = client.post("/labels", json={"id": "fish"})
        assert again.status_code == 409
        assert_problem(again, "known already")
        assert client.post("/labels", json={"id": 7}).status_code == 422


def test_new_labels_outlive_models_and_services(folder, tmp_path):
    place, kept = tmp_path / "served", tmp_path / "new"
    load_model(folder / "model").save(place)

    def ids(client):
        return [label["id"] for label in client.get("/labels?prefix=s").json()["labels"]]

    app = create_app(place, new_labels=kept, reload_seconds=None)
    other = create_app(place, new_labels=kept, reload_seconds=None)
    with serving(app) as client, serving(other) as neighbour:
        assert client.post("/labels", json={"id": "fish", "text": "slow bird"}).status_code == 201
        load_model(folder / "other").save(place)
        assert app.state.service.source.check()
        assert ids(client) == ["fish"]
        best = client.post("/predict", json={"texts": ["slow bird"], "k": 3}).json()
        assert "fish" in [label["id"] for label in best["predictions"][0]]
        # Another process takes it over when it looks, or is asked for the same.
        assert ids(neighbour) == ["slow"]
        assert neighbour.post("/labels", json={"id": "fish"}).status_code == 409
        assert client.post("/labels", json={"id": "seal", "text": "sea dog"}).status_code == 201
        source = other.state.service.source
        source.on_look()
        other.state.service.queue.run(lambda: None).result()
        assert ids(neighbour) == ["seal", "slow", "fish"]
    with serving(create_app(place, new_labels=kept, reload_seconds=None)) as client:
        assert ids(client) == ["seal", "fish"]
    kept.write_text('{"id": 3, "text": "three"}\n')  # the model's ids are str
    with serving(create_app(place, new_labels=kept, reload_seconds=None)) as client:
        assert client.get("/labels").json()["total"] == len(WORDS)
    kept.write_text('{"id": "a"}\n')
    with pytest.raises(ValueError, match=r"line 1 of .* is no label"):
        create_app(place, new_labels=kept)
    with pytest.raises(FileNotFoundError):
        create_app(place, new_labels=tmp_path / "no-folder" / "new")


def test_removed_labels_stay_removed(folder, tmp_path):
    place, kept = tmp_path / "served", tmp_path / "labels"
    load_model(folder / "model").save(place)
    app = create_app(place, new_labels=kept, reload_seconds=None)
    other = create_app(place, new_labels=kept, reload_seconds=None)
    with serving(app) as client, serving(other) as neighbour:
        assert client.post("/labels/remove", json={"id": "slow"}).status_code == 204
        assert client.get("/labels").json()["total"] == len(WORDS) - 1
        found = client.post("/predict", json={"texts": ["slow bird"], "k": 20}).json()
        assert "slow" not in [label["id"] for label in found["predictions"][0]]
        assert_problem(client.post("/labels/remove", json={"id": "slow"}), "slow")
        other.state.service.source.on_look()
        other.state.service.queue.run(lambda: None).result()
        assert neighbour.get("/labels").json()["total"] == len(WORDS) - 1
        # It may come back, with another text.
        assert neighbour.post("/labels", json={"id": "slow", "text": "no hurry"}).status_code == 201
        assert neighbour.get("/labels?prefix=no h").json()["labels"][0]["id"] == "slow"
        assert neighbour.post("/labels/remove", json={"id": "slow"}).status_code == 204
    with serving(create_app(place, new_labels=kept, reload_seconds=None)) as client:
        assert client.get("/labels").json()["total"] == len(WORDS) - 1


def test_texts_of_labels_follow_the_model(tmp_path):
    model = fit_small(tmp_path, label_text={word: f"the word {word}" for word in WORDS})
    model.remove_labels(model.classes_[:3].tolist())
    with serving(create_app(model)) as client:
        labels = client.get("/labels", params={"limit": 100}).json()["labels"]
    found = {label["id"]: label["text"] for label in labels}
    assert found == {name: f"the word {name}" for name in model.classes_.tolist()}


def test_labels_are_not_removed_where_that_is_not_allowed(client):
    response = client.post("/labels/remove", json={"id": "slow"})
    assert response.status_code == 403
    assert_problem(response, "changes no labels")


def test_confirmed_documents_are_kept_for_an_update(client, folder, tmp_path):
    response = client.post("/documents", json={"text": "red car", "labels": ["red"]})
    assert response.status_code == 403
    kept = tmp_path / "feedback.jsonl"
    app = create_app(folder / "model", feedback=kept, reload_seconds=None)
    with serving(app) as client:
        assert client.get("/health").json()["takes_documents"] is True
        for text, labels in (("quick \u00e4 car", ["fast", "car"]), ("nothing fits", [])):
            response = client.post("/documents", json={"text": text, "labels": labels})
            assert response.status_code == 204
        wrong = client.post("/documents", json={"text": "a", "labels": ["zebra"]})
        assert wrong.status_code == 409
        assert_problem(wrong, "no label 'zebra'")
        limit = app.state.service.limits.characters
        long = client.post("/documents", json={"text": "a" * (limit + 1), "labels": []})
        assert_problem(long, "characters")
    data = load_table(kept, text="text", labels="labels", label_sep=None)
    assert data.text_train == ["quick \u00e4 car", "nothing fits"]
    assert data.label_text == ["car", "fast"]
    assert data.Y_train.toarray().tolist() == [[1, 1], [0, 0]]
    with pytest.raises(FileNotFoundError):
        create_app(folder / "model", feedback=tmp_path / "no-folder" / "feedback")


# --- reasons ---


def test_reasons_come_where_they_are_asked_for(client, picture_client, with_pictures, folder):
    body = {"texts": TEXTS[:3], "k": 2, "exclude": ["red"], "explain": True}
    found = client.post("/predict", json=body).json()["predictions"]
    plain = client.post("/predict", json={**body, "explain": False}).json()["predictions"]
    assert "why" not in plain[0][0]
    model = load_model(folder / "model")
    expected = model.explain(TEXTS[:3], [[label["id"] for label in row] for row in found])
    for row, own in zip(found, expected, strict=True):
        for label, reason in zip(row, own, strict=True):
            why = label["why"]
            assert why["evidence"] == pytest.approx(reason.evidence, abs=1e-4)
            assert [near["id"] for near in why["documents"]] == [
                near.row for near in reason.documents
            ]
            assert [word["word"] for word in why["words"]] == [word for word, _ in reason.words]
            assert why["picture"] is None
    form = {"text": "red car", "k": "2", "explain": "true"}
    answer = picture_client.post("/predict/form", data=form, files={"images": picture()}).json()
    [[why]] = with_pictures.explain(
        ["red car"], [answer["predictions"][0][0]["id"]], images=[[picture()]]
    )
    assert answer["predictions"][0][0]["why"]["picture"] == pytest.approx(why.picture, abs=1e-3)
    many = client.post("/predict", json={"texts": ["red"] * 11, "k": 10, "explain": True})
    assert many.status_code == 422
    assert_problem(many, "explain asks for 110 reasons, and at most 100 are given")


# --- who may ask ---


def test_a_token_is_asked_for(folder):
    app = create_app(folder / "model", token="tea-time", reload_seconds=None)
    with serving(app) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "tea-time"}):
            for path in ("/labels", "/metrics", "/openapi.json", "/nothing"):
                response = client.get(path, headers=headers)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
                assert_problem(response, "token")
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200
        headers = {"authorization": "bearer tea-time"}
        assert client.get("/labels", headers=headers).status_code == 200


def test_other_names_of_the_host_are_refused(folder):
    app = create_app(folder / "model", hosts=["127.0.0.1", "[::1]"], reload_seconds=None)
    with serving(app) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"host": "[::1]:80"}).status_code == 200
        for host in ("evil.example", "127.0.0.1.evil.example", ""):
            response = client.get("/health", headers={"host": host})
            assert response.status_code == 400


def test_wrong_settings_are_refused(folder, tmp_path):
    for token in ("", "tür", "a\nb"):
        with pytest.raises(ValueError, match="token must be of printable ASCII"):
            create_app(folder / "model", token=token)
    with pytest.raises(FileNotFoundError, match="no folder"):
        create_app(tmp_path / "nothing")
    with pytest.raises(ValueError, match="the limit seconds must be a number above 0 and at most"):
        Limits(seconds=float("nan"))
    ready = fit_ready()
    with pytest.raises(ValueError, match="fitted with encoder='precomputed'"):
        create_app(ready)


def test_the_class_of_a_saved_model_is_found(tmp_path):
    fit_ready(DecoderXMCClassifier).save(tmp_path / "model")
    assert isinstance(load_model(tmp_path / "model"), DecoderXMCClassifier)


def fit_ready(kind=ViXMLClassifier):
    X = np.random.RandomState(0).normal(size=(20, 4))
    Y = [["abc"[row % 3]] for row in range(20)]
    return kind("precomputed", random_state=0).fit(X, Y)


# --- description ---


def test_the_description_has_examples_that_work(client):
    description = client.get("/openapi.json").json()
    schemas = description["components"]["schemas"]
    assert set(description["paths"]) >= {"/predict", "/predict/form", "/labels", "/health"}
    for body in schemas["PredictRequest"]["examples"]:
        assert client.post("/predict", json=body).status_code == 200
    assert schemas["NewLabel"]["examples"]
    for path in description["paths"].values():
        for operation in path.values():
            assert operation["description"]
            assert "4XX" in operation["responses"]


def test_the_page_loads_nothing_of_others(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not re.findall(r"""(?:src|href)=["'](?!data:,)""", response.text)
    assert "://" not in response.text


PATHS = ["POST /predict", "POST /predict/form", "GET /labels", "POST /labels", "GET /health"]


@pytest.mark.parametrize("path", PATHS)
def test_generated_requests_get_answers_as_described(client, path):
    method, _, place = path.partition(" ")
    described = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")

    @given(case=described[place][method].as_strategy())
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        response = case.call()
        case.validate_response(
            response,
            checks=[
                checks.not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ],
        )
        if response.status_code >= 400:
            assert list(response.json()) == ["error"]

    check()
