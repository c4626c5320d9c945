"""What all routes share: the services, and who may call."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Path, Request

from sensorium.server.access.security import Caller, require
from sensorium.server.services import Services

PREFIX = "/api/v1"


async def services_of(request: Request) -> Services:
    """The services of the application that was asked."""
    services: Services = request.app.state.services
    services.asked = time.monotonic()
    return services


Shared = Annotated[Services, Depends(services_of)]
Viewer = Annotated[Caller, Depends(require("view"))]
Editor = Annotated[Caller, Depends(require("edit"))]
Admin = Annotated[Caller, Depends(require("admin"))]

VIEW = [Depends(require("view"))]
EDIT = [Depends(require("edit"))]
ADMIN = [Depends(require("admin"))]

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
