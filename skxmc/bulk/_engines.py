"""What Ray and Spark need so that a job neither stands still nor loads a model for each batch."""

from __future__ import annotations

import os
from typing import Any

from .._runtime._optional import import_optional
from ._table_predictor import TablePredictor

# Blocks of documents for each worker, so that none waits long for the last one.
_BLOCKS = 4


def predict_ray(
    dataset: Any,
    folder: str | os.PathLike,
    *,
    workers: int,
    batch_size: int = 1024,
    num_cpus: float = 1,
    num_gpus: float = 0,
    **options: Any,
) -> Any:
    """Labels of a data set of Ray; each worker loads the model once.

    Parameters
    ----------
    dataset : ray.data.Dataset
        The documents.
    folder : path-like
        What ``save`` wrote, at a place that every worker can read.
    workers : int
        Processes that predict, of `num_cpus` cores each. One core more has to be free: Ray reads
        the data with it, and waits for ever where there is none.
    batch_size : int, default=1024
        Documents that a worker gets at a time.
    num_cpus, num_gpus : float
        What one worker takes.
    **options
        As of :class:`TablePredictor`; `threads` is `num_cpus` if it is not given.

    Returns
    -------
    found : ray.data.Dataset
        Lazy, as all data sets of Ray: ``found.write_parquet(path)`` runs it.

    Raises
    ------
    ValueError
        If the cluster has too few cores: the job would stand still.
    """
    ray = import_optional("ray", "ray")
    if not ray.is_initialized():
        ray.init()
    cores = ray.cluster_resources().get("CPU", 0)
    if workers * num_cpus + 1 > cores:
        raise ValueError(
            f"workers={workers} of {num_cpus} cores leave none of the cluster's {cores:.0f} cores "
            "to read the data with; pass fewer workers, or start a larger cluster."
        )
    options = {"threads": max(1, int(num_cpus)), **options}
    TablePredictor(folder, **options)  # wrong options show here, and not in a worker
    # Ray packs small files into one block, and all but one worker would idle.
    return dataset.repartition(_BLOCKS * workers).map_batches(
        TablePredictor,
        fn_constructor_args=(os.fspath(folder),),
        fn_constructor_kwargs=options,
        batch_format="pyarrow",
        batch_size=batch_size,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


def predict_spark(frame: Any, folder: str | os.PathLike, **options: Any) -> Any:
    """Labels of a data frame of Spark; each Python worker loads the model once.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        The documents.
    folder : path-like
        What ``save`` wrote, at a place that every executor can read.
    **options
        As of :class:`TablePredictor`; `threads` is 1 if it is not given.

    Returns
    -------
    found : pyspark.sql.DataFrame
        Lazy: ``found.write.parquet(path)`` runs it. It has as many partitions as `frame`.

    Notes
    -----
    Spark repeats a task that failed on a cluster; ``local[2]`` does not, and ``local[2,4]`` does.
    """
    predictor = TablePredictor(folder, **{"threads": 1, **options})
    columns = [
        f"labels array<{'bigint' if predictor.gives_numbers else 'string'}>",
        "scores array<float>",
    ]
    if predictor.id is not None:
        kind = frame.schema[predictor.id].dataType.simpleString()
        columns.insert(0, f"`{predictor.id}` {kind}")
    if predictor.on_error == "column":
        columns.append("error string")
    return frame.select(*predictor.columns).mapInArrow(predictor.iterate, ", ".join(columns))
