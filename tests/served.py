"""A small model of three-word texts, and a server for it on a loopback address."""

import socket
import threading
from contextlib import contextmanager

import httpx
import numpy as np
import uvicorn
from tiny_models import save_encoder

from skxmc import ViXMLClassifier

WORDS = "red green blue apple car tree house dog cat bird fast slow".split()


def texts_and_tags(n=60, seed=0):
    """Texts of three words, and these words as tags."""
    rows = np.random.RandomState(seed).randint(len(WORDS), size=(n, 3))
    texts = [" ".join(WORDS[word] for word in row) for row in rows]
    return texts, [sorted(set(text.split())) for text in texts]


def thumbnails(images):
    """An image encoder: the pixels of a thumbnail."""
    return np.stack([np.asarray(image.resize((2, 2)), np.float32).ravel() for image in images])


def fit_small(folder, *, prefix="", images=None, **parameters):
    """A fitted model whose labels are called like the words, with a prefix."""
    texts, tags = texts_and_tags()
    if not (folder / "encoder").exists():
        save_encoder(folder, words=WORDS)
    model = ViXMLClassifier(
        str(folder / "encoder"),
        train_encoder="frozen",
        random_state=0,
        device="cpu",
        precision="float32",
        **parameters,
    )
    return model.fit(texts, [[prefix + tag for tag in row] for row in tags], images=images)


@contextmanager
def serving(app):
    """Run an application in a thread; yields a client for it."""
    listener = socket.create_server(("127.0.0.1", 0))  # callers wait from now on
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
