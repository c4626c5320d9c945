"""What the API says in JSON: one model each, from which OpenAPI and the page's types follow.

Words that people read come in both languages (``Words``), so that the page can change its language without
asking again. Moments are ISO 8601; those of photos are the time on the spot. What the API is told stands in
``requests``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """What the server says."""

    model_config = ConfigDict(from_attributes=True)


class Words(Document):
    """The same in English and Chinese."""

    en: str
    zh: str


class Card(Document):
    """A photo as far as a grid shows it. ``version`` belongs into the address of its thumbnail."""

    id: int
    name: str
    kind: str
    width: int
    height: int
    taken_at: str | None
    place: Words | None
    favourite: bool
    hidden: bool
    offline: bool
    duration: float | None
    version: str


class Cards(Document):
    """Photos in the order in which they were asked for; ids that no photo has are left out."""

    photos: list[Card]


class Month(Document):
    """A stretch of the grid: photos of one month, or without a date."""

    month: str | None
    start: int
    count: int


class Grid(Document):
    """All photos of a scope, newest first.

    ``ratios`` are width / height; ``versions`` holds four letters a photo.
    """

    generation: int
    ids: list[int]
    ratios: list[float]
    versions: str
    months: list[Month]


class Box(Document):
    """A part of an upright picture: shares of its width and height, 0 to 1, from its left top corner."""

    left: float
    top: float
    right: float
    bottom: float


class NamedPerson(Document):
    """Somebody who is on a photo; ``name`` is null as long as nobody gave one."""

    id: int
    name: str | None


class PhotoFace(Document):
    """A face on a photo, and whose it is if that is known."""

    id: int
    box: Box
    person: NamedPerson | None


class SeenText(Document):
    """A line of text in a picture; ``box`` are its four corners, each [x, y] as shares of the picture."""

    text: str
    box: list[list[float]]


class NamedAlbum(Document):
    """An album that a photo is in."""

    id: int
    name: str


class Companion(Document):
    """A file that belongs to a photo: a sidecar, the film of a live photo, the raw half of a pair."""

    name: str
    kind: str


class PhotoDetail(Card):
    """Everything that is known about a photo. ``path`` only for those who may know the machine."""

    path: str | None
    folder: str
    size: int
    format: str
    camera: str | None
    lens: str | None
    latitude: float | None
    longitude: float | None
    altitude: float | None
    people: list[NamedPerson]
    faces: list[PhotoFace]
    text: str | None
    texts: list[SeenText]
    title: str | None
    caption: str | None
    keywords: list[str]
    rating: int | None
    albums: list[NamedAlbum]
    companions: list[Companion]


class HitCard(Card):
    """A photo that a search found: how likely it shows what was asked for, and why it is here."""

    score: float
    why: Words
    moment: float | None


class Chip(Document):
    """One slot of a parsed query, and the query without it."""

    id: str
    slot: str
    label: Words
    remove: dict[str, Any]


class Parsed(Document):
    """A sentence as it was understood."""

    query: dict[str, Any]
    chips: list[Chip]


class Found(Parsed):
    """A page of an answer. ``closest``: what came nearest when nothing was found."""

    hits: list[HitCard]
    total: int
    verdict: Literal["found", "weak", "nothing"]
    closest: list[HitCard]
    cursor: str | None
    note: Words | None


class Similar(Document):
    """Photos that look like another one."""

    hits: list[HitCard]


class UploadedImage(Document):
    """A picture that was sent here; it is kept for ``seconds``."""

    upload_id: str
    seconds: int


class Suggestion(Document):
    """A query that finds something here."""

    query: Words
    label: Words
    kind: Literal["look", "person", "place", "year"]


class Suggestions(Document):
    """Queries to begin with."""

    suggestions: list[Suggestion]


class Points(Document):
    """Where photos were taken: degrees, north and east positive; three lists of one length."""

    generation: int
    ids: list[int]
    latitudes: list[float]
    longitudes: list[float]


class Changed(Document):
    """How many photos are others than before."""

    changed: int


class Album(Document):
    """An album; ``cover`` is a photo's id."""

    id: int
    name: str
    photos: int
    cover: int | None
    created_at: datetime


class Albums(Document):
    """All albums."""

    albums: list[Album]


class Person(Document):
    """Somebody (or a pet) whom photos show; ``name`` is null as long as nobody gave one."""

    id: int
    name: str | None
    kind: Literal["person", "pet"]
    hidden: bool
    photos: int
    faces: int
    cover_face: int | None


class People(Document):
    """Everybody. ``needs``: the model that finds faces, when it is not here."""

    people: list[Person]
    faces_ready: bool
    needs: str | None


class FaceOfPerson(Document):
    """A face that was taken for a person's."""

    id: int
    photo_id: int
    box: Box
    score: float
    confirmed: bool


class Faces(Document):
    """The faces of a person."""

    faces: list[FaceOfPerson]


class FaceChanged(Document):
    """Whose a face is now."""

    id: int
    person_id: int | None


class DuplicateCard(Card):
    """One of several photos that are alike. ``best``: the one to keep, by size and age."""

    bytes: int
    best: bool


class DuplicateGroup(Document):
    """Photos with the same content, or of the same scene."""

    kind: Literal["exact", "near"]
    photos: list[DuplicateCard]


class Duplicates(Document):
    """A part of all groups. ``ready``: every photo was compared."""

    groups: list[DuplicateGroup]
    total: int
    ready: bool


class JobError(Document):
    """Why a job ended without a result."""

    code: str
    detail: str


class JobDocument(Document):
    """A piece of long work."""

    id: str
    kind: Literal["index", "describe", "check", "repair", "backup", "restore", "retry"]
    state: Literal["running", "done", "failed", "cancelled"]
    phase: str
    done: int
    total: int | None
    progress: dict[str, Any]
    started_at: datetime
    ended_at: datetime | None
    result: dict[str, Any] | None
    error: JobError | None
    cancelling: bool


class JobList(Document):
    """Running jobs and the last ones that ended, newest first."""

    jobs: list[JobDocument]


class FailureDocument(Document):
    """A file that is no photo here, and why. ``retry``: asking for another try makes sense.

    ``path`` is below ``root_path``, which is the folder's name alone for those who are no admin.
    """

    id: int
    root: int
    root_path: str
    path: str
    name: str
    reason: str
    retry: bool
    failed_at: datetime


class UndescribedDocument(Document):
    """A photo that a pass could not look into, and why."""

    name: str = Field(serialization_alias="pass")
    path: str
    reason: str


class Failures(Document):
    """A part of all failures, and the photos that could not be described."""

    failures: list[FailureDocument]
    total: int
    undescribed: list[UndescribedDocument]


class RootDocument(Document):
    """A folder that the library looks after. ``path`` is its name alone for those who are no admin."""

    id: int
    path: str
    photos: int
    offline: Words | None


class Roots(Document):
    """All folders."""

    roots: list[RootDocument]


class RemovedRoot(Document):
    """How many photos the library knows no longer. Their files are as they were."""

    photos: int


class DiskUse(Document):
    """Bytes on disk of what Sensorium keeps."""

    database: int
    vectors: int
    thumbnails: int
    backups: int
    models: int


class PassDocument(Document):
    """How far a pass of describing photos is. ``needs`` says why it cannot run, in one line."""

    name: str = Field(serialization_alias="pass")
    done: int
    due: int
    failed: int
    ready: bool
    needs: str | None


class StatusDocument(Document):
    """What the library holds, and how it is."""

    library: str
    photos: int
    embedded: int
    offline: int
    gone: int
    failed: int
    roots: list[RootDocument]
    bytes: DiskUse
    disk_free: int
    model: str | None
    generation: int
    watching: bool
    jobs: list[JobDocument]
    passes: list[PassDocument]


class SettingsDocument(Document):
    """What people chose. ``model`` is the one that answers searches."""

    language: Literal["en", "zh"] | None
    model: str | None
    watch: bool


class ModelDocument(Document):
    """A model that can search this library, or could once its files are here."""

    name: str
    here: bool
    bytes: int | None
    photos: int
    waiting: int
    languages: list[str]
    answering: bool


class Models(Document):
    """All models."""

    models: list[ModelDocument]


class BackupDocument(Document):
    """A file that a backup wrote."""

    id: str
    name: str
    bytes: int
    created_at: datetime


class Backups(Document):
    """All backups, newest first, and where they are kept."""

    backups: list[BackupDocument]
    folder: str


class Freed(Document):
    """Bytes that are free again."""

    bytes: int
