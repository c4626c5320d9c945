"""The watch inside the server: changes become jobs, people switch it off and on, its end waits for nobody."""

import asyncio
import contextlib
import shutil
import time
from types import SimpleNamespace

import pytest
from photo_fakes import Models, picture, run, write

from sensorium.photos.files.watch import Timing
from sensorium.photos.library import Library
from sensorium.server.api.problems import Problem
from sensorium.server.preferences import Preferences
from sensorium.server.tasks import watching
from sensorium.server.tasks.watching import Watching

QUICK = Timing(settle=0.1, longest=1.0, tick=0.02, look=0.05, rescan=0)


class Jobs:
    """What is started, and how each ends: a result, an error, or a refusal to begin."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict]] = []
        self.endings: list[object] = []

    async def start(self, kind: str, **request: object) -> SimpleNamespace:
        ending = self.endings.pop(0) if self.endings and kind == "index" else {"encoded": 0, "unsettled": 0}
        self.started.append((kind, request))
        if isinstance(ending, Problem):
            raise ending
        error = {"code": ending, "detail": ""} if isinstance(ending, str) else None
        state = "failed" if error else "done"
        return SimpleNamespace(state=state, error=error, result=None if error else ending)

    async def wait(self, job: SimpleNamespace) -> SimpleNamespace:
        await asyncio.sleep(0)
        return job

    def folders(self) -> list[list[str]]:
        return [request["folders"] for kind, request in self.started if kind == "index"]


class Served:
    """As much of the services as the watch sees."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.preferences = Preferences(folder / "settings.json")
        self.jobs = Jobs()
        self.published: list[tuple[str, dict]] = []
        self.events = SimpleNamespace(publish=lambda kind, data: self.published.append((kind, data)))

    @contextlib.asynccontextmanager
    async def watched(self):
        task = asyncio.create_task(Watching(self, timing=QUICK, look=0.05).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, fits) -> None:
        async with asyncio.timeout(5):
            while not fits():
                await asyncio.sleep(0.01)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for number in (1, 2):
        write(folder / "a" / f"{number}.jpg", picture(number))
    return folder


@pytest.fixture
def served(tmp_path, pictures):
    with Library.open(tmp_path / "library", create=True, loader=Models()) as library:
        run(library, pictures)
    return Served(tmp_path / "library")


def test_changes_become_jobs_and_new_photos_are_described(served, pictures):
    async def scenario():
        async with served.watched():
            await served.until(lambda: len(served.jobs.started) == 2)
            first = {"folders": [str(pictures)], "settle": QUICK.settle}
            assert served.jobs.started == [("index", first), ("describe", {})]
            served.jobs.endings = [{"encoded": 1, "unsettled": 1}]
            (pictures / "a" / "3.jpg").touch()
            await served.until(lambda: len(served.jobs.started) == 5)
            a = {"folders": [str(pictures / "a")], "settle": QUICK.settle}
            assert served.jobs.started[2:] == [("index", a), ("describe", {}), ("index", a)]

    asyncio.run(scenario())


def test_what_failed_or_was_excluded_comes_again(served, pictures, monkeypatch):
    monkeypatch.setattr(watching, "_BUSY", 0.05)
    monkeypatch.setattr(watching, "_AGAIN", 0.05)
    served.jobs.endings = [Problem(409, "job_running", "index is at work"), "library_busy", "disk_full"]

    async def scenario():
        async with served.watched():
            await served.until(lambda: len(served.jobs.folders()) == 4)
            await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert served.jobs.folders() == [[str(pictures)]] * 4


def test_people_switch_it_off_and_on(served, pictures):
    async def scenario():
        served.preferences.change(watch=False)
        async with served.watched():
            await asyncio.sleep(0.3)
            assert served.jobs.started == []
            served.preferences.change(watch=True)
            await served.until(lambda: len(served.jobs.folders()) == 1)
            served.preferences.change(watch=False)
            await asyncio.sleep(0.3)
            (pictures / "a" / "3.jpg").touch()
            await asyncio.sleep(0.3)
            assert len(served.jobs.folders()) == 1

    asyncio.run(scenario())


def test_a_disk_that_goes_and_comes_is_told_to_every_page(served, pictures):
    async def scenario():
        async with served.watched():
            await served.until(lambda: len(served.jobs.folders()) == 1)
            pictures.rename(pictures.with_name("unplugged"))
            await served.until(lambda: served.published)
            pictures.with_name("unplugged").rename(pictures)
            await served.until(lambda: len(served.published) == 2)
            await served.until(lambda: len(served.jobs.folders()) == 2)

    asyncio.run(scenario())
    assert served.published == [("roots", {"offline": ["pictures"]}), ("roots", {"offline": []})]


def test_a_library_that_is_gone_ends_nothing(served, pictures):
    async def scenario():
        async with served.watched():
            await served.until(lambda: len(served.jobs.folders()) == 1)
            shutil.move(served.folder, served.folder.with_name("elsewhere"))
            await asyncio.sleep(0.3)
            shutil.move(served.folder.with_name("elsewhere"), served.folder)
            (pictures / "a" / "3.jpg").touch()
            await served.until(lambda: len(served.jobs.folders()) == 2)

    asyncio.run(scenario())


def test_the_end_of_the_server_waits_for_no_job(served):
    async def endless(job):
        await asyncio.sleep(60)

    served.jobs.wait = endless

    async def scenario():
        async with served.watched():
            await served.until(lambda: served.jobs.started)
            return time.monotonic()

    asked = asyncio.run(scenario())
    assert time.monotonic() - asked < 2
