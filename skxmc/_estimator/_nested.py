"""Parameters of the objects that an estimator is made of."""

from __future__ import annotations

from typing import Any


class NestedParametersMixin:
    """Reaches the kinds in the list `evidence` by name, as ``label_vectors__anchor``.

    It stands before scikit-learn's BaseEstimator, which reaches single objects.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of nested objects as well: ``objective__margin``, and
            of the kinds of evidence by their names, ``label_vectors__anchor``.

        Returns
        -------
        params : dict of str to object
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, kind in self._named_kinds().items():
                params[name] = kind
                nested = kind.get_params(deep=True)
                params.update({f"{name}__{key}": value for key, value in nested.items()})
        return params

    def set_params(self, **params: Any):
        """Set parameters of this estimator and of the objects in it.

        Parameters
        ----------
        **params : dict
            As in :meth:`get_params`. A kind of evidence can be replaced by its name, as
            ``label_vectors=LabelVectors(anchor=1)``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no such parameter, or nothing to set it in.
        """
        if "evidence" in params:
            self.evidence = params.pop("evidence")
        own = super().get_params(deep=False)
        for key in params:
            name, nested, _ = key.partition("__")
            if nested and name in own and not hasattr(own[name], "get_params"):
                whole = params.get(name, own[name])
                if not hasattr(whole, "get_params"):
                    raise ValueError(
                        f"{key} cannot be set, because {name} is {whole!r}; pass an object as "
                        f"{name} first, such as {name}={_EXAMPLES.get(name, '...')}."
                    )
        named = self._named_kinds()
        replaced = {name: params.pop(name) for name in list(params) if name in named}
        if replaced:
            self.evidence = [
                replaced.get(getattr(kind, "name", None), kind) for kind in self.evidence
            ]
        return super().set_params(**params)

    def _named_kinds(self) -> dict[str, Any]:
        """The objects in `evidence`, by name."""
        kinds = self.evidence if isinstance(self.evidence, list | tuple) else ()
        return {kind.name: kind for kind in kinds if hasattr(kind, "get_params")}


_EXAMPLES = {
    "objective": "Prime()",
    "adapter": "LoRA()",
    "training": "Training()",
    "validation": "Validation()",
    "index": "HNSW()",
    "encoder": "TextEncoder(...)",
    "image_encoder": "ImageEncoder(...)",
}
