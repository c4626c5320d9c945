"""Search: a sentence or a corrected query to a page of photos, with chips; pictures to search by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from sensorium import settings
from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.library import Library
from sensorium.photos.query.model import Query as Sentence
from sensorium.photos.query.model import Term
from sensorium.photos.search import suggestions
from sensorium.photos.search.answers import looks
from sensorium.photos.search.ranking import Results
from sensorium.server.access.limits import MAX_UPLOAD
from sensorium.server.api import documents, requests
from sensorium.server.api.chips import chips_of
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer, hit_documents
from sensorium.server.pictures import decoding, media
from sensorium.server.pictures.uploads import SECONDS
from sensorium.server.routes.common import PREFIX, VIEW, Id, Shared
from sensorium.server.services import Services

router = APIRouter(prefix=PREFIX, tags=["search"])

LONGEST = 2000
MOST_TERMS = 32
_PHOTO, _UPLOAD = "photo:", "upload:"

Pictures = dict[str, NDArray[np.float32]]
Text = Annotated[str, Query(max_length=LONGEST, description="a sentence in English or Chinese")]
Sort = Literal["relevance", "date"]


@dataclass(frozen=True, slots=True)
class _Page:
    k: int
    cursor: str | None
    sort: Sort
    everything: bool


@router.get("/search", response_model=documents.Found, dependencies=VIEW)
async def search(
    services: Shared,
    q: Text,
    cursor: Annotated[str | None, Query(max_length=8192)] = None,
    k: Annotated[int, Query(ge=1, le=1000)] = 60,
    sort: Sort = "relevance",
    everything: Annotated[bool, Query(alias="all")] = False,
) -> Response:
    """Photos that fit a sentence, how it was understood, and why each is there."""
    page = _Page(k, cursor, sort, everything)

    def understand(library: Library) -> tuple[Sentence, Future[Any] | None]:
        query = _parsed(services, library, q)
        return query, _encoded(services, library, query)

    query, encoded = await services.call(understand)
    if encoded is not None:  # meanwhile others search, and their words are encoded with these
        await asyncio.shield(asyncio.wrap_future(encoded))
    return answer(await services.call(lambda library: _found(library, query, page, {})))


@router.post("/search", response_model=documents.Found, dependencies=VIEW)
async def search_again(services: Shared, wanted: requests.SearchRequest) -> Response:
    """Photos that fit a corrected query, with words or pictures added to it or taken away."""
    page = _Page(wanted.k, wanted.cursor, wanted.sort, wanted.all)
    query = _with_terms(Sentence.from_document(wanted.query), wanted.terms)
    pictures, pipeline = _uploads(services, query)

    def ask(library: Library) -> documents.Found:
        if pipeline is not None and pipeline != library.answering().pipeline:
            raise _expired()
        return _found(library, query, page, {**pictures, **_photos(library, query)})

    return answer(await services.call(ask))


@router.get("/parse", response_model=documents.Parsed, dependencies=VIEW)
async def parse(services: Shared, q: Text) -> Response:
    """How a sentence is understood."""

    def ask(library: Library) -> documents.Parsed:
        query = _parsed(services, library, q)
        return documents.Parsed(query=query.document(), chips=chips_of(query))

    return answer(await services.call(ask))


@router.post(
    "/search/image",
    response_model=documents.UploadedImage,
    status_code=201,
    dependencies=VIEW,
    max_body_size=MAX_UPLOAD,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": {"type": "string", "format": "binary"}},
                    }
                },
                "image/*": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def upload_image(request: Request, services: Shared) -> Response:
    """Take a picture to search by: the body itself, or the file `image` of a form. Kept for ten minutes."""
    content = await _uploaded(request)
    if not content:
        raise Problem(422, "bad_image", "the picture is empty")
    encoder = await services.call(lambda library: library.answering())
    with media.telling():
        taken = await services.decoders.run(decoding.take_upload, content, encoder.image_spec)
    vectors = await services.call(lambda library: encoder.embed_pixels(taken.pixels[None]))
    upload_id = services.uploads.add(encoder.pipeline, vectors[0], taken.shown)
    return answer(documents.UploadedImage(upload_id=upload_id, seconds=int(SECONDS)), 201)


@router.get(
    "/search/image/{upload_id}",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
    dependencies=VIEW,
)
async def uploaded_image(services: Shared, upload_id: str) -> Response:
    """A picture that was uploaded, small."""
    upload = services.uploads.get(upload_id)
    if upload is None:
        raise _expired()
    return Response(upload.shown, headers={"cache-control": "private, max-age=600"}, media_type="image/webp")


@router.get("/photos/{photo_id}/similar", response_model=documents.Similar, dependencies=VIEW)
async def similar_photos(
    services: Shared, photo_id: Id, k: Annotated[int, Query(ge=1, le=1000)] = 60
) -> Response:
    """Photos that look like one, without itself."""

    def ask(library: Library) -> documents.Similar:
        _vector(library, photo_id)
        return documents.Similar(hits=hit_documents(library.similar_to(photo_id, k)))

    return answer(await services.call(ask))


@router.get("/suggestions", response_model=documents.Suggestions, dependencies=VIEW)
async def suggested_searches(services: Shared) -> Response:
    """Sentences that find something here."""

    def ask(library: Library) -> documents.Suggestions:
        state = library.store.vectors_generation()
        found = services.memory.get("suggestions", state, lambda: _suggested(library))
        return documents.Suggestions(
            suggestions=[
                documents.Suggestion(
                    query=documents.Words(en=one.en, zh=one.zh),
                    label=documents.Words(en=one.en, zh=one.zh),
                    kind=one.kind,
                )
                for one in found
            ]
        )

    return answer(await services.call(ask))


def _suggested(library: Library) -> list[suggestions.Suggestion]:
    if library.store.active_pipeline() is None:
        return []

    def finds(words: str) -> bool:
        found = library.search(Sentence(said=words, text=words), 1)
        return found.verdict == "found" and found.total > 1

    return suggestions.suggest(library.store, finds)


def _parsed(services: Services, library: Library, words: str) -> Sentence:
    """A sentence as it is understood today; no word of it is ever taken for a file on this machine."""
    state = (library.generation(), settings.now().date())
    return services.memory.get(
        ("parse", words), state, lambda: library.parse(words, image_exists=lambda _: False)
    )


def _encoded(services: Services, library: Library, query: Sentence) -> Future[Any] | None:
    """The vectors of a query's words, on their way; None when they are known, or there is no model."""
    words = [term.words for term in looks(query) if term.words is not None]
    try:
        return services.encoding.ahead(library.answering(), words) if words else None
    except SensoriumError:
        return None  # the search itself says what is missing


def _found(library: Library, query: Sentence, page: _Page, pictures: Pictures) -> documents.Found:
    try:
        results = library.search(
            query,
            page.k,
            after_cursor=page.cursor,
            sort=page.sort,
            everything=page.everything,
            pictures=pictures,
        )
    except LibraryError as error:
        if library.store.count_photos(None)[0] == 0:
            raise Problem(409, "library_empty", "there are no photos yet: add a folder first") from error
        raise
    return _found_document(results)


def _found_document(results: Results) -> documents.Found:
    note = results.note
    return documents.Found(
        query=results.query.document(),
        chips=chips_of(results.query),
        hits=hit_documents(results.hits),
        total=results.total,
        verdict=results.verdict,
        closest=hit_documents(results.closest),
        cursor=results.cursor,
        note=None if note is None else documents.Words(en=note, zh=results.note_zh or note),
    )


def _with_terms(query: Sentence, added: Sequence[requests.AddedTerm]) -> Sentence:
    """A query with terms added to what it should look like."""
    if added:
        terms = list(query.terms) or ([Term(query.text, None, 1.0)] if query.text else [])
        for one in added:
            terms.append(_term(one))
        text = " ".join(term.words for term in terms if term.words and term.weight > 0)
        query = replace(query, terms=tuple(terms), text=text)
    if len(query.terms) > MOST_TERMS:
        raise Problem(422, "too_many", f"{MOST_TERMS} terms at most, not {len(query.terms)}")
    return query


def _term(added: requests.AddedTerm) -> Term:
    given = [value is not None for value in (added.words, added.photo_id, added.upload_id)]
    if sum(given) != 1 or not added.weight:
        raise Problem(
            422, "invalid", "a term has words, a photo_id or an upload_id, and a weight but 0", errors=[]
        )
    words = " ".join(added.words.split()) if added.words is not None else None
    if added.words is not None and not words:
        raise Problem(422, "invalid", "the words of a term are blank", errors=[])
    picture = f"{_PHOTO}{added.photo_id}" if added.photo_id is not None else f"{_UPLOAD}{added.upload_id}"
    return Term(words, None if words else picture, added.weight)


def _images(query: Sentence, prefix: str) -> list[str]:
    """The pictures of a query of one kind. Raises Problem for one of no kind: a path, for instance."""
    named = [term.image for term in query.terms if term.image is not None]
    if not all(name.startswith((_PHOTO, _UPLOAD)) for name in named):
        raise Problem(422, "unknown_picture", "a picture of a query is photo:ID or upload:ID")
    return [name for name in named if name.startswith(prefix)]


def _uploads(services: Services, query: Sentence) -> tuple[Pictures, str | None]:
    """The vectors of uploaded pictures, and the pipeline that they are of."""
    found: Pictures = {}
    pipeline: str | None = None
    for name in _images(query, _UPLOAD):
        upload = services.uploads.get(name.removeprefix(_UPLOAD))
        if upload is None or pipeline not in (None, upload.pipeline):
            raise _expired()
        found[name], pipeline = upload.vector, upload.pipeline
    return found, pipeline


def _photos(library: Library, query: Sentence) -> Pictures:
    """The vectors of the library's own photos in a query."""
    found: Pictures = {}
    for name in _images(query, _PHOTO):
        number = name.removeprefix(_PHOTO)
        if not (number.isascii() and number.isdecimal() and 0 < int(number[:20]) < 2**63):
            raise Problem(422, "unknown_picture", "a picture of a query is photo:ID or upload:ID")
        found[name] = _vector(library, int(number))
    return found


def _vector(library: Library, photo_id: int) -> NDArray[np.float32]:
    vector = library.vector_of(photo_id)
    if vector is None:
        if not library.browse.photos([photo_id]):
            raise media.no_such_photo(photo_id)
        raise Problem(409, "photo_not_indexed", "this photo was not indexed yet: try again later")
    return vector


def _expired() -> Problem:
    return Problem(410, "upload_expired", "the uploaded picture is no longer kept: drop it here again")


async def _uploaded(request: Request) -> bytes:
    """The bytes of an upload, whichever way they came; how many they may be was checked before."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return await request.body()
    async with request.form(max_files=1, max_fields=8) as form:
        for value in form.values():
            if not isinstance(value, str):
                return await value.read()
    raise Problem(422, "invalid", "the form holds no file: call it `image`", errors=[])
