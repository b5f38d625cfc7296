"""Labels for very many documents: one callable for tables, and what Ray and Spark need for it."""

from ._engines import predict_ray, predict_spark
from ._table_predictor import TablePredictor

__all__ = ["TablePredictor", "predict_ray", "predict_spark"]
