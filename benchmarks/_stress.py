"""A service under load: are its answers right, also while models are replaced and callers too many?

Two models are saved in turns to the folder that is served. They differ in the names of their labels
alone, so that each answer shows which of them gave it, and whether it is of one of them as a whole.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

PREFIX = "new "

# Documents whose answers are known, and clients and documents of each in the overload.
N_TEXTS, MANY_CLIENTS, MANY_DOCUMENTS = 400, 16, 64


class Expected:
    """What a model says of some texts."""

    def __init__(self, model: Any, texts: list[str], k: int) -> None:
        self.texts, self.k = texts, k
        self.names, self.scores = model.predict_topk(texts, k, return_labels=True)

    def judge(self, row: int, labels: list[dict[str, Any]]) -> str:
        """Whether an answer is right, and of which model."""
        names = [label["id"] for label in labels]
        new = [name.startswith(PREFIX) for name in names]
        if any(new) and not all(new):
            return "mixed"
        names = [name.removeprefix(PREFIX) for name in names]
        scores = np.array([label["score"] for label in labels])
        close = np.allclose(scores, self.scores[row], rtol=1e-3, atol=1e-4)
        # Labels with scores that are all but equal may change places.
        swapped = np.flatnonzero(np.array(names) != self.names[row])
        gaps = np.abs(np.diff(self.scores[row], append=self.scores[row][-1]))
        if not close or any(gaps[max(0, place - 1) : place + 1].min() > 1e-4 for place in swapped):
            return "wrong"
        return "new" if all(new) else "old"


def ask(port: int, texts: list[str], k: int) -> tuple[int, Any]:
    """Status and content of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        body = json.dumps({"texts": texts, "k": k})
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def stress(port: int, pid: int, folder: str, model: Any, options: argparse.Namespace) -> dict:
    """Ask with many clients while models are replaced, and then with too many documents."""
    other = deepcopy(model).rename_labels({name: PREFIX + name for name in model.classes_})
    expected = Expected(model, options.texts, options.k)
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    end = time.perf_counter() + options.seconds

    def client(number: int) -> None:
        row = number
        while time.perf_counter() < end:
            row = (row + 1) % len(expected.texts)
            try:
                status, content = ask(port, [expected.texts[row]], options.k)
            except OSError:
                status, content = 0, None
            kind = expected.judge(row, content["predictions"][0]) if status == 200 else str(status)
            with lock:
                counts[kind] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(max(options.clients))]
    for thread in threads:
        thread.start()
    memory = []
    for number in range(options.reloads):
        memory.append(resident(pid))
        (other, model)[number % 2].save(folder)
        time.sleep(max(0.0, (end - time.perf_counter()) / (options.reloads - number + 1)))
    for thread in threads:
        thread.join()
    memory.append(resident(pid))
    return {
        "answers": dict(counts),
        "reloads": options.reloads,
        "megabytes": memory,
        "overload": overload(port, expected),
    }


def overload(port: int, expected: Expected) -> dict[str, Any]:
    """Statuses where more is asked for than may wait, and whether an answer comes afterwards."""
    counts: Counter[int] = Counter()
    texts = (expected.texts * MANY_DOCUMENTS)[:MANY_DOCUMENTS]

    def client() -> None:
        status, _ = ask(port, texts, expected.k)
        counts[status] += 1

    threads = [threading.Thread(target=client) for _ in range(MANY_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status, content = ask(port, expected.texts[:1], expected.k)
    right = status == 200 and expected.judge(0, content["predictions"][0]) in ("old", "new")
    return {"statuses": {str(status): n for status, n in counts.items()}, "recovered": right}


def resident(pid: int) -> int:
    """Memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    raise RuntimeError(f"there is no process {pid}")


def markdown(result: dict[str, Any]) -> str:
    """Return what was seen, a line each."""
    answers = ", ".join(f"{kind} {n:,}" for kind, n in sorted(result["answers"].items()))
    memory = ", ".join(map(str, result["megabytes"]))
    late = "and an answer afterwards" if result["overload"]["recovered"] else "and no answer then"
    return (
        f"* Answers of {result['clients']} clients in {result['seconds']:g} s, with "
        f"{result['reloads']} new models: {answers}\n"
        f"* Memory before each new model and at the end, MB: {memory}\n"
        f"* Overload: statuses {result['overload']['statuses']}, {late}"
    )
