"""Requests per second and waiting times of the service on a loopback address.

A process of its own serves a saved model, and another one is its callers: each asks for one
document, waits for the answer, and asks for the next. Unbatched calls are the same service with
batches of one document, which is what a web framework around predict_topk does.
"""

import argparse
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import _stress, predict
from ._data import add_data, load
from ._report import apart, command, parameter, table

START_SECONDS = 300


def call(port: int, texts: list[str], until: float, k: int, times: list[float]) -> None:
    """Ask again and again over one connection; `times` gets the seconds of each answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = 0
    while time.perf_counter() < until:
        body = json.dumps({"texts": [texts[number % len(texts)]], "k": k})
        started = time.perf_counter()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"the service answered with status {response.status}")
        times.append(time.perf_counter() - started)
        number += 1
    connection.close()


def load_of(port: int, texts: list[str], clients: int, seconds: float, k: int) -> dict[str, float]:
    """What so many callers see within some seconds, after a warm-up."""
    call(port, texts, time.perf_counter() + min(1.0, seconds), k, [])
    times: list[list[float]] = [[] for _ in range(clients)]
    started = time.perf_counter()
    threads = [
        threading.Thread(target=call, args=(port, texts[n:] + texts[:n], started + seconds, k, own))
        for n, own in enumerate(times)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    answers = np.concatenate(times)
    p50, p99 = 1e3 * np.percentile(answers, [50, 99])
    return {"requests_per_second": len(answers) / took, "p50_ms": p50, "p99_ms": p99}


@contextmanager
def service(folder: str, batch: int, *limits: str) -> Iterator[tuple[int, int]]:
    """The port and the number of a process that serves a folder."""
    more = [part for limit in limits for part in ("--limit", limit)]
    process = subprocess.Popen(
        [sys.executable, "-m", "skxmc", "serve", folder, "--port", "0", "--reload", "0.5",
         "--limit", f"batch_documents={batch}", *more],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield _port_of(process), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _port_of(process: subprocess.Popen) -> int:
    printed = b""
    while b"serving" not in printed or not printed.endswith(b"\n"):
        ready, _, _ = select.select([process.stderr], [], [], START_SECONDS)
        part = os.read(process.stderr.fileno(), 4096) if ready else b""
        if not part:
            raise RuntimeError(f"the service did not start: {printed.decode(errors='replace')}")
        printed += part
    return int(printed.decode().rstrip().rpartition(":")[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "fontawesome")
    add = parser.add_argument
    add("--labels", type=int, default=None, help="as for predict")
    add("--documents", type=int, default=30_000, help="as for predict")
    add("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="name or folder")
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, the value in JSON or as a word; repeatable")  # fmt: skip
    add("--model", default=None, metavar="FOLDER",
        help="a saved model; if there is no such folder, it is fitted and saved there")  # fmt: skip
    add("--clients", type=int, nargs="+", default=[1, 8, 32], help="callers at a time")
    add("--seconds", type=float, default=20.0, help="of each measurement")
    add("--reloads", type=int, default=0, metavar="N",
        help="new models that are saved under the load of most clients; 0 for none")  # fmt: skip
    add("--batch", type=int, default=64, help="most documents of a batch")
    add("-k", type=int, default=5, help="labels of a document")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Fit a model if there is none, and measure the service with batches and without."""
    texts = load(options.data, options.folder).text_test
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or str(Path(temporary) / "model")
        if not Path(folder).exists():
            apart(predict.fit, options, folder)
        for name, batch in ("in batches", options.batch), ("one by one", 1):
            with service(folder, batch) as (port, _):
                for clients in options.clients:
                    measured = load_of(port, texts, clients, options.seconds, options.k)
                    yield {"service": name, "clients": clients, **measured}
        if options.reloads:
            yield apart(stress, options, folder, texts[: _stress.N_TEXTS])


def stress(options: argparse.Namespace, folder: str, texts: list[str]) -> dict[str, Any]:
    """See whether answers are right while the model is replaced, and callers are too many."""
    from skxmc.serving import load_model

    model = load_model(folder)
    options.texts = texts
    with tempfile.TemporaryDirectory() as temporary:
        served = str(Path(temporary) / "served")
        model.save(served)
        with service(served, options.batch, "waiting_documents=256") as (port, pid):
            found = _stress.stress(port, pid, served, model, options)
    return {
        "service": "stress",
        "clients": max(options.clients),
        "seconds": options.seconds,
        **found,
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a table of what was measured."""
    rows = [
        [
            result["service"],
            str(result["clients"]),
            f"{result['requests_per_second']:.1f}",
            f"{result['p50_ms']:.0f}",
            f"{result['p99_ms']:.0f}",
        ]
        for result in results
        if result["service"] != "stress"
    ]
    more = [_stress.markdown(result) for result in results if result["service"] == "stress"]
    header = ["service", "clients", "requests/s", "p50, ms", "p99, ms"]
    return "\n\n".join([table(header, rows, left=1), *more])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
