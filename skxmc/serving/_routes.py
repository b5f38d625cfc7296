"""The routes of the service.

Only `create_app` imports this module, after it has seen that the extra is installed.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response

from ..inspection import Explanation
from ._page import PAGE, PAGE_POLICY
from ._predict import Answer
from ._predict import Query as Documents
from ._schemas import (
    Health,
    KnownLabel,
    LabelEntry,
    LabelledDocument,
    LabelPage,
    NewLabel,
    PredictRequest,
    PredictResponse,
    Problem,
)
from ._service import Service

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "The request is wrong, or there are too many."},
    "5XX": {"model": Problem, "description": "The service cannot answer now."},
}

router = APIRouter(responses=_PROBLEMS)


def _service(request: Request) -> Service:
    return request.app.state.service


@router.post("/predict", response_model=PredictResponse)
async def predict(request: Request, body: PredictRequest) -> Response:
    """Find the labels of documents."""
    service = _service(request)
    query = await run_in_threadpool(service.check_json, body)
    return _render(await service.ask(query))


@router.post("/predict/form", response_model=PredictResponse)
async def predict_form(
    request: Request,
    text: Annotated[str, Form(description="The document.")],
    k: Annotated[int, Form(ge=1, description="Number of labels.")] = 5,
    explain: Annotated[bool, Form(description="Whether to say why.")] = False,
    images: Annotated[list[UploadFile] | None, File(description="Its pictures.")] = None,
) -> Response:
    """Find the labels of one document whose pictures are files of a form."""
    service = _service(request)
    pictures = [await upload.read() for upload in images or []]
    documents = Documents([text], [pictures], k, explain=explain)
    return _render(await service.ask(await run_in_threadpool(service.check, documents)))


def _render(answer: Answer) -> JSONResponse:
    predictions: list[list[dict[str, Any]]] = [
        [{"id": label.id, "text": label.text, "score": score} for label, score in ranking]
        for ranking in answer.rankings
    ]
    for labels, reasons in zip(predictions, answer.reasons or [], strict=False):
        for label, reason in zip(labels, reasons, strict=True):
            label["why"] = _why(reason)
    return JSONResponse({"predictions": predictions})


def _why(reason: Explanation) -> dict[str, Any]:
    return {
        "evidence": reason.evidence,
        "documents": [
            {"id": near.row if near.id is None else near.id, "cosine": near.cosine}
            for near in reason.documents
        ],
        "words": [{"word": word, "amount": amount} for word, amount in reason.words],
        "picture": reason.picture,
    }


@router.get("/labels")
async def search_labels(
    request: Request,
    prefix: Annotated[str, Query(max_length=200, description="Start of the text.")] = "",
    offset: Annotated[int, Query(ge=0, le=2**53, description="How many to leave out.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many to return.")] = 50,
) -> LabelPage:
    """List labels whose text begins so, in alphabetical order."""
    total, found = _service(request).current.search(prefix, offset, limit)
    entries = [LabelEntry(id=label.id, text=label.text) for label in found]
    return LabelPage(total=total, labels=entries)


@router.post("/labels", status_code=201)
async def add_label(request: Request, body: NewLabel) -> LabelEntry:
    """Make a label known without training; models that the service loads later get it too."""
    text = str(body.id) if body.text is None else body.text
    label = await _service(request).add_label(body.id, text)
    return LabelEntry(id=label.id, text=label.text)


@router.post("/labels/remove", status_code=204, response_class=Response)
async def remove_label(request: Request, body: KnownLabel) -> None:
    """Make a label unknown; models that the service loads later lose it too."""
    await _service(request).remove_label(body.id)


@router.post("/documents", status_code=204, response_class=Response)
async def keep_document(request: Request, body: LabelledDocument) -> None:
    """Keep a document whose labels a caller has confirmed, for the next update of the model."""
    await run_in_threadpool(_service(request).keep_document, body.text, body.labels)


@router.get("/health")
async def health(request: Request) -> Health:
    """Say how the service is."""
    served = _service(request).current
    return Health(
        status="ok",
        labels=len(served.labels),
        takes_pictures=served.takes_pictures,
        takes_documents=_service(request).feedback is not None,
        loaded=served.loaded.isoformat(timespec="seconds"),
        version=request.app.version,
    )


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    found = _service(request).metrics
    return Response(found.render(), media_type=found.content_type)


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """Try the model out."""
    return HTMLResponse(PAGE, headers={"content-security-policy": PAGE_POLICY})
