"""What requests and responses look like; the description in OpenAPI follows from it.

Only `create_app` imports this module, after it has seen that the extra is installed.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

LabelId = str | int


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(_Request):
    """Documents to find labels for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["a red apple", "a fast car"], "k": 3}]}
    )
    texts: list[str] = Field(description="The documents.")
    images: list[str | list[str] | None] | None = Field(
        None,
        description="For each document a picture in base64, a list of them, or null. Only bytes of "
        "pictures: nothing is fetched.",
    )
    k: int = Field(5, ge=1, description="Number of labels of a document.")
    exclude: list[LabelId] = Field(
        default_factory=list, description="Ids of labels that are not wanted."
    )
    only: list[LabelId] = Field(
        default_factory=list, description="Ids of labels that may come back; empty for all."
    )
    explain: bool = Field(False, description="Whether to say why.")


class NearDocument(BaseModel):
    """A training document that has the label."""

    id: LabelId = Field(description="Its id, or its number where the model was given no ids.")
    cosine: float = Field(description="How near it is, at most 1.")


class SpeakingWord(BaseModel):
    """A word of the document that supports the label."""

    word: str
    amount: float = Field(description="Logarithm of the factor that it gives the odds.")


class Why(BaseModel):
    """Why a document gets a label."""

    evidence: dict[str, float] = Field(description="Share of each kind of evidence.")
    documents: list[NearDocument]
    words: list[SpeakingWord]
    picture: float | None = Field(description="As for words; null without pictures.")


class ScoredLabel(BaseModel):
    """A label of a document."""

    id: LabelId = Field(description="Name of the label in the model.")
    text: str = Field(description="What the label says.")
    score: float = Field(description="Probability that the label is right.")
    why: Why | None = Field(None, description="Only where `explain` is true.")


class PredictResponse(BaseModel):
    """The labels of each document, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"predictions": [[{"id": "fruit", "text": "fruit", "score": 0.91}]]}]
        }
    )
    predictions: list[list[ScoredLabel]]


class LabelEntry(BaseModel):
    """A label that the model knows."""

    id: LabelId
    text: str


class LabelPage(BaseModel):
    """Some of the labels that were asked for."""

    total: int = Field(description="How many there are in all.")
    labels: list[LabelEntry]


class NewLabel(_Request):
    """A label to make known, without training."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "pear", "text": "pear, a sweet fruit"}]}
    )
    id: LabelId = Field(description="Its name, of the type of the names in the model.")
    text: str | None = Field(None, description="What it says; by default its name.")


class KnownLabel(_Request):
    """A label that the model knows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "pear"}]})
    id: LabelId


class LabelledDocument(_Request):
    """A document and the labels that a caller has confirmed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "a red apple", "labels": ["fruit"]}]}
    )
    text: str
    labels: list[LabelId] = Field(description="Ids of labels of the model; none of them may fit.")


class Health(BaseModel):
    """How the service is."""

    status: str
    labels: int
    takes_pictures: bool
    takes_documents: bool = Field(description="Whether documents with labels are kept.")
    loaded: str = Field(description="When the model was loaded, in UTC.")
    version: str = Field(description="Of skxmc.")


class Problem(BaseModel):
    """What is wrong with a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "texts: Field required."}]})
    error: str
