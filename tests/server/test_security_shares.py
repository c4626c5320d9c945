"""Share links in more detail: albums, ends, and what an id means."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from serving import (
    AWAY,
    application,
    away,
    beside,
    local_client,
    problem,
    share,
)

from sensorium.photos.database import schema


def test_a_share_of_an_album_shows_what_the_album_holds(trip):
    folder, ids = trip
    with local_client(away(folder, host="127.0.0.1")) as owner:
        visitor = beside(owner, base_url=AWAY)
        album = owner.post("/api/v1/albums", json={"name": "spring"}).json()["id"]
        owner.post(f"/api/v1/albums/{album}/photos", json={"ids": [ids["red.jpg"]]})
        made = share(owner, album_id=album)
        link = f"/api/v1/shared/{made['key']}"
        assert (made["name"], made["photos"]) == ("spring", 1)
        assert [photo["id"] for photo in visitor.get(link).json()["photos"]] == [ids["red.jpg"]]
        owner.post(f"/api/v1/albums/{album}/photos", json={"ids": [ids["green.jpg"]]})
        assert len(visitor.get(link).json()["photos"]) == 2
        owner.post("/api/v1/photos/marks", json={"ids": [ids["red.jpg"]], "hidden": True})
        assert [photo["id"] for photo in visitor.get(link).json()["photos"]] == [ids["green.jpg"]]
        problem(visitor.get(f"{link}/photos/{ids['red.jpg']}/media"), 404, "not_found")
        owner.delete(f"/api/v1/albums/{album}")
        assert visitor.get(link).json()["photos"] == []


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"photo_ids": []},
        {"photo_ids": [1], "album_id": 1},
        {"photo_ids": [1], "days": 0},
        {"photo_ids": [1], "days": 366},
        {"photo_ids": [1], "days": None},
        {"photo_ids": [0]},
        {"photo_ids": [1], "name": "a\nb"},
    ],
)
def test_a_share_without_an_end_or_a_subject_is_not_made(local, wanted):
    problem(local.post("/api/v1/shares", json=wanted), 422, "invalid")


def test_a_share_ends_in_a_week_unless_told_otherwise(trip):
    folder, ids = trip
    with local_client(application(folder)) as owner:
        share(owner, photo_ids=[ids["red.jpg"]])
        [kept] = owner.app.state.accounts.shares()
        assert kept.expires_at - kept.created_at == 7 * 86_400


def test_ids_of_another_library_mean_nothing(trip):
    """A backup was restored in which the same number is another photo."""
    folder, ids = trip
    with local_client(away(folder, host="127.0.0.1")) as owner:
        visitor = beside(owner, base_url=AWAY)
        photo = ids["red.jpg"]
        link = f"/api/v1/shared/{share(owner, photo_ids=[photo])['key']}"
        assert len(visitor.get(link).json()["photos"]) == 1
        with owner.app.state.services.library.store.writing() as connection:
            this = sa.update(schema.photos).where(schema.photos.c.id == photo)
            connection.execute(this.values(first_seen=schema.photos.c.first_seen + 1))
        assert visitor.get(link).json()["photos"] == []
        problem(visitor.get(f"{link}/photos/{photo}/media"), 404, "not_found")
