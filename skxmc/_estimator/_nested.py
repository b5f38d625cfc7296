"""Parameters of the objects that an estimator is made of."""

from __future__ import annotations

from typing import Any, Self

from ..evidence import resolve_evidence


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

    def set_params(self, **params: Any) -> Self:
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
        self._check_nested(params)
        named = self._named_kinds()
        replaced = {name: params.pop(name) for name in list(params) if name in named}
        if replaced:
            self.evidence = [
                replaced.get(getattr(kind, "name", None), kind) for kind in self.evidence
            ]
        return super().set_params(**params)

    def _check_nested(self, params: dict[str, Any]) -> None:
        """Whether there are objects that nested parameters can be set in."""
        own, named = super().get_params(deep=False), self._named_kinds()
        for key in params:
            name, nested, _ = key.partition("__")
            whole = params.get(name, own.get(name, named.get(name)))
            if not nested or hasattr(whole, "get_params"):
                continue
            if name in own:
                raise ValueError(
                    f"{key} cannot be set, because {name} is {whole!r}; pass an object as "
                    f"{name} first, such as {name}={self._example(name)}."
                )
            usual = {kind.name: kind for kind in resolve_evidence(None)}
            if name in usual:
                raise ValueError(
                    f"{key} cannot be set, because evidence is {self.evidence!r}; pass a list "
                    f"that holds the object first, such as evidence=[{usual[name]!r}]."
                )

    def _example(self, name: str) -> str:
        if name == "encoder":
            return f"{self._recipe.encoder.__name__}(...)"
        return _EXAMPLES.get(name, "...")

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
    "image_encoder": "ImageEncoder(...)",
}
