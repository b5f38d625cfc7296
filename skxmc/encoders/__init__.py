"""Encoders as objects: a model's name together with what belongs to it.

Where a name is enough, pass the name. Nothing here loads PyTorch before something is fitted.
"""

from ._adapters import LoRA
from ._image_encoder import ImageEncoder
from ._language_models import LanguageModel
from ._precomputed import Precomputed
from ._text_encoder import TextEncoder

__all__ = ["ImageEncoder", "LanguageModel", "LoRA", "Precomputed", "TextEncoder"]
