"""The page to try a model out, in a real browser."""

import io
import json
from base64 import b64encode

import numpy as np
import pytest
from browser import AXE, PROGRAM, browser
from PIL import Image
from served import fit_small, serving, thumbnails

from skxmc.serving import create_app

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

# Resolves when the script has answered.
ANSWERED = """new Promise((resolve) => {
  const done = () => {
    const busy = document.getElementById("go").hasAttribute("aria-disabled");
    if (!busy) { observer.disconnect(); resolve(document.getElementById("status").textContent); }
  };
  const observer = new MutationObserver(done);
  observer.observe(document.getElementById("go"), { attributes: true });
  done();
})"""
ROWS = """[...document.querySelectorAll("#labels li")].map((item) => [
  item.querySelector(".name").textContent, item.querySelector(".score").textContent])"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.RandomState(3)
    images = [np.full((4, 4, 3), rng.randint(256, size=3), np.uint8) for _ in range(60)]
    folder = tmp_path_factory.mktemp("page")
    return fit_small(folder, images=images, image_encoder=thumbnails)


@pytest.fixture
def page(model, tmp_path):
    app = create_app(model, token="tea-time", feedback=tmp_path / "feedback.jsonl")
    with serving(app) as client, browser() as page:
        page.open(str(client.base_url))
        page.run("fetch('health')")
        yield page


def expected(model, text, images):
    names, scores = model.predict_topk([text], 5, images=images, return_labels=True)
    return [[name, f"{100 * score:.1f} %"] for name, score in zip(names[0], scores[0], strict=True)]


def test_suggestions_by_keyboard_and_with_a_dropped_picture(page, model, tmp_path):
    assert page.run("document.activeElement.id") == "text"
    page.call("Input.insertText", text="red car")
    order = []
    while "go" not in order:
        page.press("Tab")
        order.append(page.run("document.activeElement.id"))
        assert len(order) < 10
    assert order == ["files", "k", "go"]
    page.press("Enter", "\r")
    assert page.run(ANSWERED) == "the token is missing or wrong; send Authorization: Bearer TOKEN."
    assert page.run("document.activeElement.id") == "token"
    page.call("Input.insertText", text="tea-time")
    page.press("Enter", "\r")
    assert page.run(ANSWERED) == "5 labels, best first."
    assert page.run(ROWS) == expected(model, "red car", [None])

    file = io.BytesIO()
    Image.new("RGB", (5, 5), (10, 200, 30)).save(file, "PNG")
    page.run(f"""(() => {{
      const bytes = Uint8Array.from(atob("{b64encode(file.getvalue()).decode()}"),
        (letter) => letter.charCodeAt(0));
      const dropped = new DataTransfer();
      dropped.items.add(new File([bytes], "green.png", {{ type: "image/png" }}));
      const drop = document.getElementById("drop");
      drop.dispatchEvent(new DragEvent("drop", {{ dataTransfer: dropped, cancelable: true }}));
      document.getElementById("form").requestSubmit();
    }})()""")
    assert page.run(ANSWERED) == "5 labels, best first."
    assert page.run(ROWS) == expected(model, "red car", [file.getvalue()])
    assert page.run("document.querySelector('#shown img').alt") == "green.png"
    [why] = model.explain(["red car"], k=1, images=[file.getvalue()])[0]
    assert page.run("document.querySelector('#labels summary').textContent") == f"Why {why.label}?"
    page.run("document.querySelector('#labels details').open = true")
    terms = "[...document.querySelector('#labels dl').children].map((one) => one.textContent)"
    found = page.run(terms)
    assert found[::2] == ["Evidence", "Nearest documents", "Words", "Picture"]
    nearest = ", ".join(f"{near.row} ({near.cosine:.2f})" for near in why.documents)
    assert found[3] == nearest

    phone = {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    page.call("Emulation.setDeviceMetricsOverride", **phone)
    assert page.run("document.scrollingElement.scrollWidth") <= 360
    page.screenshot(tmp_path / "page.png")
    assert Image.open(tmp_path / "page.png").size == (360, 900)


def test_what_helps_those_who_do_not_see_it(page):
    unnamed = page.run("""[...document.querySelectorAll("input, textarea, button")]
      .filter((one) => !(one.labels && one.labels.length) && !one.textContent.trim())
      .map((one) => one.id)""")
    assert unnamed == []
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.getElementById('status').getAttribute('aria-live')") == "polite"


def test_ticked_labels_are_kept(model, tmp_path):
    kept = tmp_path / "feedback.jsonl"
    with serving(create_app(model, feedback=kept)) as client, browser() as page:
        page.open(str(client.base_url))
        page.run("fetch('health')")
        assert page.run("document.getElementById('feedback').hidden")
        page.call("Input.insertText", text="red car")
        page.run("document.getElementById('form').requestSubmit()")
        page.run(ANSWERED)
        names = [name for name, _ in page.run(ROWS)]
        boxes = "[...document.querySelectorAll('#labels input')]"
        assert page.run(f"{boxes}.map((box) => box.getAttribute('aria-label'))") == [
            f"{name} is right" for name in names
        ]
        page.run(f"for (const place of [0, 2]) {boxes}[place].click()")
        # Typed since then: what is kept is the text that was asked for.
        page.run("document.getElementById('text').value = 'something else'")
        page.run("keep()")
        assert page.run("document.getElementById('status').textContent") == "Kept with 2 labels."
        assert page.run("document.getElementById('feedback').hidden")
    assert json.loads(kept.read_text()) == {"text": "red car", "labels": [names[0], names[2]]}


@pytest.mark.skipif(AXE is None, reason="axe-core is not installed: npm install axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(page, tmp_path, scheme, width):
    """The rules of axe-core, before and after an answer, in both colour schemes."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.call("Emulation.setEmulatedMedia", features=features)
    page.run("document.getElementById('with-token').hidden = false")
    page.run(AXE.read_text("utf-8"))
    violations = "axe.run().then((found) => found.violations.map((one) => [one.id, one.impact]))"
    assert page.run(violations) == []
    page.run("""(() => {
      document.getElementById("token").value = "tea-time";
      document.getElementById("text").value = "red car";
      document.getElementById("form").requestSubmit();
    })()""")
    assert page.run(ANSWERED) == "5 labels, best first."
    page.run("document.querySelector('#labels details').open = true")
    assert page.run(violations) == []
    page.screenshot(tmp_path / f"page-{scheme}-{width}.png")


def test_nothing_is_asked_of_other_hosts_and_nothing_is_blocked(page):
    asked = [e for e in page.events if e["method"] == "Network.requestWillBeSent"]
    addresses = {event["params"]["request"]["url"] for event in asked}
    assert all(url.startswith(("http://127.0.0.1:", "data:,")) for url in addresses)
    errors = [
        e for e in page.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert errors == []
