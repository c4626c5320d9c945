"""From the library's objects to the API's documents, and documents to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath

from pydantic import BaseModel
from starlette.responses import Response

from sensorium.photos import places
from sensorium.photos.collections import browse
from sensorium.photos.files.names import printable
from sensorium.photos.places import Located
from sensorium.photos.search.ranking import Hit
from sensorium.server.api import documents
from sensorium.server.api.documents import Box, Card, HitCard, NamedPerson, PhotoDetail, Words
from sensorium.server.pictures.contents import version_of

JSON = "application/json"


def answer(document: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as an answer; nothing that is private is kept by anybody between here and the page."""
    kept = {"cache-control": "private, no-cache", **(headers or {})}
    return Response(document.model_dump_json(by_alias=True), status, kept, media_type=JSON)


@lru_cache(maxsize=4096)
def place_words(located: Located) -> Words | None:
    """A place in both languages."""
    en = places.label(located)
    return Words(en=en, zh=places.label(located, "zh")) if en else None


def _place(card: browse.Card) -> Words | None:
    if card.place is not None:
        found = place_words(card.place)
        if found is not None:
            return found
    if card.latitude is None or card.longitude is None:
        return None
    north = f"{abs(card.latitude):.4f}°{'N' if card.latitude >= 0 else 'S'}"
    east = f"{abs(card.longitude):.4f}°{'E' if card.longitude >= 0 else 'W'}"
    return Words(en=f"{north} {east}", zh=f"{north} {east}")


def card_fields(card: browse.Card) -> dict[str, object]:
    """What every document about a photo begins with."""
    return {
        "id": card.id,
        "name": printable(card.name),
        "kind": card.kind,
        "width": card.width,
        "height": card.height,
        "taken_at": card.taken_at.isoformat() if card.taken_at else None,
        "place": _place(card),
        "favourite": card.favourite,
        "hidden": card.hidden,
        "offline": card.offline,
        "duration": card.duration,
        "version": version_of(card.sha256),
    }


def card_document(card: browse.Card) -> Card:
    """A card."""
    return Card.model_validate(card_fields(card))


def hit_documents(hits: Sequence[Hit]) -> list[HitCard]:
    """Hits with the cards of their photos."""
    cards = browse.cards_of(hit.row for hit in hits)
    return [
        HitCard.model_validate(
            {
                **card_fields(card),
                "score": round(hit.score, 6),
                "why": {"en": hit.why, "zh": hit.why_zh},
                "moment": hit.moment,
            }
        )
        for hit, card in zip(hits, cards, strict=True)
    ]


def detail_document(detail: browse.Detail, *, whole_path: bool) -> PhotoDetail:
    """Everything about a photo. ``whole_path`` for those who may know this machine's folders."""
    folder = printable(detail.folder) or printable(PurePath(detail.root).name)
    return PhotoDetail.model_validate(
        {
            **card_fields(detail),
            "path": printable(detail.path) if whole_path else None,
            "folder": folder,
            "size": detail.bytes,
            "format": detail.format,
            "camera": detail.camera,
            "lens": detail.lens,
            "latitude": detail.latitude,
            "longitude": detail.longitude,
            "altitude": detail.altitude,
            "people": [NamedPerson(id=one.id, name=one.name) for one in detail.people],
            "faces": [_face(face) for face in detail.faces],
            "text": detail.text,
            "texts": [{"text": line["text"], "box": line["box"]} for line in detail.boxes],
            "title": detail.title,
            "caption": detail.caption,
            "keywords": list(detail.keywords),
            "rating": detail.rating,
            "albums": [{"id": album.id, "name": album.name or ""} for album in detail.albums],
            "companions": [
                {"name": printable(PurePath(one.path).name), "kind": one.kind} for one in detail.companions
            ],
        }
    )


def _face(face: browse.Face) -> documents.PhotoFace:
    whose = None if face.person is None else NamedPerson(id=face.person.id, name=face.person.name)
    return documents.PhotoFace(id=face.id, box=box_of(face.box), person=whose)


def box_of(box: tuple[float, float, float, float]) -> Box:
    """Left, top, right, bottom as a document."""
    left, top, right, bottom = box
    return Box(left=left, top=top, right=right, bottom=bottom)
