"""What the API is told in JSON: one model each. Members that nobody knows are refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PhotoId = Annotated[int, Field(ge=1, le=2**63 - 1)]
Ids = Annotated[list[PhotoId], Field(min_length=1, max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Request(BaseModel):
    """What the server is told. Members that it does not know are refused, so that no mistake is lost."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, told: Any) -> Any:
        """JSON may escape half of a pair of surrogates, which no file, database or network takes."""
        try:
            json.dumps(told, ensure_ascii=False, default=str).encode("utf-8")
        except (UnicodeEncodeError, RecursionError) as error:
            raise ValueError("a text in it is no Unicode") from error
        return told


class AddedTerm(Request):
    """Something to add to a query (weight above 0) or to take away from it: one of the three others."""

    words: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    photo_id: PhotoId | None = None
    upload_id: Annotated[str, Field(max_length=64)] | None = None
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0


class SearchRequest(Request):
    """A query as a document, perhaps corrected, with terms that are added to it."""

    query: dict[str, Any] = Field(default_factory=dict)
    terms: Annotated[list[AddedTerm], Field(max_length=16)] = Field(default_factory=list)
    cursor: Annotated[str, Field(max_length=8192)] | None = None
    k: Annotated[int, Field(ge=1, le=1000)] = 60
    sort: Literal["relevance", "date"] = "relevance"
    all: bool = False


class Marks(Request):
    """What to say of photos; what is left out stays as it is."""

    ids: Ids
    favourite: bool | None = None
    hidden: bool | None = None


class ExportRequest(Request):
    """Photos to take along, as they are or as copies that tell nothing but what they show."""

    ids: Ids
    without_location: bool = False


class NewAlbum(Request):
    """An album to make, with photos in it or without."""

    name: Name
    ids: Annotated[list[PhotoId], Field(max_length=100_000)] = Field(default_factory=list)


class AlbumChange(Request):
    """What to change of an album; ``cover`` null lets its newest photo be the cover."""

    name: Name | None = None
    cover: PhotoId | None = None


class PhotoIds(Request):
    """Photos."""

    ids: Ids


class PersonChange(Request):
    """What to change of a person; ``name`` null takes the name away."""

    name: Name | None = None
    kind: Literal["person", "pet"] | None = None
    hidden: bool | None = None
    cover_face: PhotoId | None = None


class NewPerson(Request):
    """Somebody, or a pet, whom a hand puts on photos."""

    name: Name
    kind: Literal["person", "pet"] = "person"
    ids: Ids


class Merge(Request):
    """People who are the same one."""

    others: Annotated[list[PhotoId], Field(min_length=1, max_length=1000)]


class FaceChange(Request):
    """Whose a face is: one of the three is given."""

    person_id: PhotoId | None = None
    name: Name | None = None
    not_person_id: PhotoId | None = None


class JobRequest(Request):
    """Work to begin. Which members count depends on its kind."""

    kind: Literal["index", "describe", "check", "repair", "backup", "restore", "retry"]
    roots: Annotated[list[PhotoId], Field(max_length=1000)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    passes: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)] | None = None
    content: bool = False
    ids: Annotated[list[PhotoId], Field(max_length=100_000)] | None = None
    backup: Annotated[str, Field(max_length=200)] | None = None
    again: bool = Field(False, description="describe: try again what failed")


class NewRoot(Request):
    """A folder to look after."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]


class SettingsChange(Request):
    """What to choose anew; what is left out stays. Another ``model`` takes over by an index job."""

    language: Literal["en", "zh"] | None = None
    model: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    watch: bool | None = None
