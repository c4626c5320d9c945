"""Photos with the same content, and photos of the same scene. Nothing is ever deleted here."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from sensorium.photos.collections.browse import Card
from sensorium.photos.library import Library
from sensorium.server.api import documents
from sensorium.server.api.rendering import answer, card_fields
from sensorium.server.routes.common import PREFIX, VIEW, Shared

router = APIRouter(prefix=PREFIX, tags=["duplicates"])

Kind = Literal["exact", "near"]
_Group = tuple[Kind, tuple[int, ...]]


@router.get("/duplicates", response_model=documents.Duplicates, dependencies=VIEW)
async def list_duplicates(
    services: Shared,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    kind: Kind | None = None,
) -> Response:
    """Groups of photos that are alike: the exact ones first."""

    def ask(library: Library) -> documents.Duplicates:
        groups, ready = services.memory.get("duplicates", library.generation(), lambda: _groups(library))
        chosen = [group for group in groups if kind in (None, group[0])]
        shown = chosen[offset : offset + limit]
        wanted = [photo for _, members in shown for photo in members]
        cards = {card.id: card for card in library.browse.photos(wanted)}
        return documents.Duplicates(
            groups=[_document(group, cards) for group in shown], total=len(chosen), ready=ready
        )

    return answer(await services.call(ask))


def _groups(library: Library) -> tuple[list[_Group], bool]:
    exact: list[_Group] = [("exact", group.photos) for group in library.duplicates.exact()]
    near: list[_Group] = [("near", group.photos) for group in library.duplicates.near()]
    return exact + near, library.duplicates.waiting() == 0


def _document(group: _Group, cards: dict[int, Card]) -> documents.DuplicateGroup:
    kind, members = group
    there = [cards[photo] for photo in members if photo in cards]
    best = max(there, key=lambda card: (card.favourite, card.width * card.height, card.bytes, -card.id))
    return documents.DuplicateGroup(
        kind=kind,
        photos=[
            documents.DuplicateCard.model_validate(
                {**card_fields(card), "bytes": card.bytes, "best": card.id == best.id}
            )
            for card in there
        ],
    )
