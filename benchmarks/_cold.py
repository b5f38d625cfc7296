"""The first prediction of a fresh process, for :mod:`benchmarks.predict`.

``python -m benchmarks._cold FOLDER TEXT [FILE]`` prints seconds as JSON. The clock starts after the
modules that a file lists have been imported.
"""

import json
import sys
import time
from importlib import import_module
from itertools import pairwise
from pathlib import Path


def main(folder: str, text: str, file: str | None = None) -> None:
    """Import, load, predict."""
    for name in [] if file is None else json.loads(Path(file).read_text(encoding="utf-8")):
        try:
            import_module(name)
        except Exception:
            continue  # a name that only its package can make, such as those of lazy modules
    times = [time.perf_counter()]
    import skxmc

    times.append(time.perf_counter())
    model = skxmc.ViXMLClassifier.load(folder)
    times.append(time.perf_counter())
    model.predict_topk([text], k=1)
    times.append(time.perf_counter())
    names = ("import_seconds", "load_seconds", "first_seconds")
    laps = [after - before for before, after in pairwise(times)]
    result = dict(zip(names, laps, strict=True))
    print(json.dumps({**result, "seconds": sum(laps), "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
