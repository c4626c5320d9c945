"""Long work: begun, looked at, cancelled."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from sensorium.server.api import documents, requests
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer
from sensorium.server.routes.backups import backup_named
from sensorium.server.routes.common import ADMIN, PREFIX, VIEW, Shared
from sensorium.server.routes.preferences import expect_model
from sensorium.server.services import Services
from sensorium.server.tasks.jobs import Job

router = APIRouter(prefix=PREFIX, tags=["jobs"])


def job_document(job: Job) -> documents.JobDocument:
    """A job as JSON."""
    return documents.JobDocument.model_validate(job.document())


@router.get("/jobs", response_model=documents.JobList, dependencies=VIEW)
async def list_jobs(services: Shared) -> Response:
    """Running jobs and the last ones that ended, newest first."""
    return answer(documents.JobList(jobs=[job_document(job) for job in services.jobs.all()]))


@router.post("/jobs", response_model=documents.JobDocument, status_code=202, dependencies=ADMIN)
async def start_job(services: Shared, wanted: requests.JobRequest) -> Response:
    """Begin long work; 409 when something runs that excludes it."""
    request = await _request(services, wanted)
    return answer(job_document(await services.jobs.start(wanted.kind, **request)), 202)


async def _request(services: Services, wanted: requests.JobRequest) -> dict[str, Any]:
    """What the work is told: only what belongs to its kind."""
    if wanted.kind == "index":
        if wanted.model is not None:
            await expect_model(services, wanted.model)
        return {"roots": wanted.roots, "model": wanted.model}
    if wanted.kind == "retry":
        return {"ids": wanted.ids}
    if wanted.kind == "describe":
        return {"passes": wanted.passes, "again": wanted.again}
    if wanted.kind == "check":
        return {"content": wanted.content}
    if wanted.kind == "backup":
        return {"backups": str(services.backups)}
    if wanted.kind == "restore":
        if wanted.backup is None:
            raise Problem(422, "invalid", "say which backup to restore: see /api/v1/backups", errors=[])
        chosen = await backup_named(services, wanted.backup)
        return {"backups": str(services.backups), "backup": chosen.name}
    return {}


@router.get("/jobs/{job_id}", response_model=documents.JobDocument, dependencies=VIEW)
async def get_job(services: Shared, job_id: str) -> Response:
    """One job."""
    return answer(job_document(services.jobs.get(job_id)))


@router.delete("/jobs/{job_id}", response_model=documents.JobDocument, status_code=202, dependencies=ADMIN)
async def cancel_job(services: Shared, job_id: str) -> Response:
    """Ask a job to stop at its next safe point; nothing happens when it has ended."""
    return answer(job_document(await services.jobs.cancel(job_id)), 202)
