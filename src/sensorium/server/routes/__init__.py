"""The API: one router a topic. A route parses, asks the library in a thread, and answers; nothing more."""

from __future__ import annotations

from fastapi import APIRouter

from sensorium.server.routes import (
    albums,
    ask,
    backups,
    cut,
    duplicates,
    events,
    jobs,
    people,
    photos,
    places,
    preferences,
    roots,
    search,
    status,
)

ROUTERS: tuple[APIRouter, ...] = (
    status.router,
    photos.router,
    cut.router,
    ask.router,
    search.router,
    places.router,
    albums.router,
    people.router,
    duplicates.router,
    jobs.router,
    events.router,
    roots.router,
    preferences.router,
    backups.router,
)
