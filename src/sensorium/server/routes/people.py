"""People and pets: listed, named, merged; whose a face is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.describe.known import chosen
from sensorium.photos.library import Library
from sensorium.photos.people.people import Face, Person
from sensorium.server.api import documents, requests
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer, box_of
from sensorium.server.pictures import thumbnails
from sensorium.server.routes.common import EDIT, PREFIX, VIEW, Id, Shared

router = APIRouter(prefix=PREFIX, tags=["people"])

_FACES = "faces"


def _document(person: Person) -> documents.Person:
    return documents.Person(
        id=person.id,
        name=person.name,
        kind=person.kind,
        hidden=person.hidden,
        photos=person.photos,
        faces=person.faces,
        cover_face=person.cover.id if person.cover is not None else None,
    )


def _face(face: Face) -> documents.FaceOfPerson:
    return documents.FaceOfPerson(
        id=face.id,
        photo_id=face.photo_id,
        box=box_of(face.box),
        score=face.score,
        confirmed=face.confirmed,
    )


def _person(library: Library, person_id: int) -> Person:
    try:
        return library.people.person(person_id)
    except LibraryError:
        raise
    except SensoriumError as error:
        raise Problem(404, "person_not_found", str(error)) from error


@router.get("/people", response_model=documents.People, dependencies=VIEW)
async def list_people(services: Shared, hidden: bool = False) -> Response:
    """Everybody, named people first, then those on most photos; with `hidden` those who were hidden."""

    def ask(library: Library) -> documents.People:
        found = library.people.everybody(hidden=hidden)
        needs = chosen(library.store, [_FACES])[0].absent()
        return documents.People(
            people=[_document(one) for one in found], faces_ready=needs is None, needs=needs
        )

    return answer(await services.call(ask))


@router.post("/people", response_model=documents.Person, status_code=201, dependencies=EDIT)
async def tag_person(services: Shared, wanted: requests.NewPerson) -> Response:
    """Put somebody on photos by hand: a pet, or a person whose face cannot be seen."""
    person = await services.call(lambda library: library.people.tag(wanted.ids, wanted.name, wanted.kind))
    return answer(_document(person), 201)


@router.get("/people/{person_id}", response_model=documents.Person, dependencies=VIEW)
async def get_person(services: Shared, person_id: Id) -> Response:
    """One person."""
    return answer(_document(await services.call(lambda library: _person(library, person_id))))


@router.patch("/people/{person_id}", response_model=documents.Person, dependencies=EDIT)
async def change_person(services: Shared, person_id: Id, change: requests.PersonChange) -> Response:
    """Name somebody, hide them, choose their face. A name that another person has makes both one."""

    def make(library: Library) -> Person:
        person = _person(library, person_id)
        if "name" in change.model_fields_set and change.name != person.name:
            person = library.people.name(person.id, change.name)
        if {"kind", "hidden", "cover_face"} & change.model_fields_set:
            person = library.people.change(
                person.id, kind=change.kind, hidden=change.hidden, cover_face=change.cover_face
            )
        return person

    return answer(_document(await services.call(make)))


@router.post("/people/{person_id}/merge", response_model=documents.Person, dependencies=EDIT)
async def merge_people(services: Shared, person_id: Id, wanted: requests.Merge) -> Response:
    """Make several people one."""

    def make(library: Library) -> Person:
        for one in (person_id, *wanted.others):
            _person(library, one)
        return library.people.merge(person_id, wanted.others)

    return answer(_document(await services.call(make)))


@router.get("/people/{person_id}/faces", response_model=documents.Faces, dependencies=VIEW)
async def faces_of_person(
    services: Shared,
    person_id: Id,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """The faces that were taken for somebody's, the best looks first."""

    def ask(library: Library) -> documents.Faces:
        _person(library, person_id)
        found = library.people.faces_of(person_id, limit=limit, offset=offset)
        return documents.Faces(faces=[_face(face) for face in found])

    return answer(await services.call(ask))


@router.delete("/people/{person_id}/photos", response_model=documents.Changed, dependencies=EDIT)
async def untag_person(services: Shared, person_id: Id, wanted: requests.PhotoIds) -> Response:
    """Take somebody off photos again whom a hand put there."""

    def make(library: Library) -> None:
        _person(library, person_id)
        library.people.untag(wanted.ids, person_id)

    await services.call(make)
    return answer(documents.Changed(changed=len(set(wanted.ids))))


@router.post("/faces/{face_id}", response_model=documents.FaceChanged, dependencies=EDIT)
async def change_face(services: Shared, face_id: Id, change: requests.FaceChange) -> Response:
    """Say whose a face is, or whose it is not."""
    given = [change.person_id, change.name, change.not_person_id]
    if sum(value is not None for value in given) != 1:
        raise Problem(422, "invalid", "give one of person_id, name and not_person_id", errors=[])

    def make(library: Library) -> int | None:
        _face_row(library, face_id)
        if change.not_person_id is not None:
            _person(library, change.not_person_id)
            library.people.not_this_person(face_id, change.not_person_id)
            return None
        if change.person_id is not None:
            _person(library, change.person_id)
            return library.people.assign(face_id, change.person_id).id
        return library.people.assign(face_id, change.name or "").id

    return answer(documents.FaceChanged(id=face_id, person_id=await services.call(make)))


@router.get(
    "/faces/{face_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {thumbnails.MEDIA_TYPE: {}}}, 304: {}},
    dependencies=VIEW,
)
async def face_thumbnail(request: Request, services: Shared, face_id: Id) -> Response:
    """A face, square (WebP)."""
    face = await services.call(lambda library: _face_row(library, face_id))
    return await thumbnails.respond_face(request, services, face.photo_id, face.box)


def _face_row(library: Library, face_id: int) -> Face:
    face = library.people.face(face_id)
    if face is None:
        raise Problem(404, "face_not_found", f"there is no face {face_id}")
    return face
