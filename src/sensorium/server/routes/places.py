"""Where photos were taken, for the map."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from sensorium.photos.library import Library
from sensorium.server.api import documents
from sensorium.server.api.rendering import answer
from sensorium.server.routes.common import PREFIX, VIEW, Shared

router = APIRouter(prefix=PREFIX, tags=["places"])


@router.get("/places/points", response_model=documents.Points, dependencies=VIEW)
async def map_points(services: Shared, scope: Annotated[str, Query(max_length=200)] = "all") -> Response:
    """All photos of a scope that tell where they were taken, to about a metre."""

    def make(library: Library) -> documents.Points:
        def ask() -> documents.Points:
            found = library.browse.points(scope)
            return documents.Points(
                generation=found.generation,
                ids=found.ids.tolist(),
                latitudes=np.round(found.latitudes, 5).tolist(),
                longitudes=np.round(found.longitudes, 5).tolist(),
            )

        return services.grids.get(("points", scope), library.generation(), ask)

    return answer(await services.call(make))
