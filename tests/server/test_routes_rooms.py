"""Albums, people, duplicates, folders, settings, models, backups, jobs and events over HTTP."""

from __future__ import annotations

import io
import json
import time

import pytest
from photo_fakes import picture, write
from PIL import Image
from serving import application, local_client, make_library, problem

from sensorium.server.tasks import work

API = "/api/v1"


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    folder = make_library(tmp_path_factory.mktemp("rooms") / "library")
    with local_client(application(folder)) as client:
        yield client


def ids_of(asking, scope: str = "all") -> list[int]:
    return asking.get(f"{API}/grid", params={"scope": scope}).json()["ids"]


def finished(asking, job: dict) -> dict:
    """A job when it has ended."""
    deadline = time.monotonic() + 30
    while job["state"] == "running":
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
        job = asking.get(f"{API}/jobs/{job['id']}").json()
    return job


def test_albums(asking) -> None:
    first, second, third = ids_of(asking)
    album = asking.post(f"{API}/albums", json={"name": "Holiday", "ids": [first]})
    assert album.status_code == 201
    album = album.json()
    assert (album["name"], album["photos"], album["cover"]) == ("Holiday", 1, first)
    address = f"{API}/albums/{album['id']}"
    assert asking.post(f"{address}/photos", json={"ids": [second, third, 4711]}).json() == {"changed": 2}
    assert set(ids_of(asking, f"album:{album['id']}")) == {first, second, third}
    changed = asking.patch(address, json={"name": "假期", "cover": second}).json()
    assert (changed["name"], changed["cover"]) == ("假期", second)
    assert asking.get(f"{API}/photos/{second}").json()["albums"] == [{"id": album["id"], "name": "假期"}]
    removed = asking.request("DELETE", f"{address}/photos", json={"ids": [second]}).json()
    assert removed == {"changed": 1}
    assert asking.get(f"{API}/albums").json()["albums"][0]["photos"] == 2
    assert asking.delete(address).status_code == 204
    for answer in (asking.get(address), asking.delete(address), asking.patch(address, json={"name": "x"})):
        problem(answer, 404, "album_not_found")
    problem(asking.post(f"{address}/photos", json={"ids": [1]}), 404, "album_not_found")
    problem(asking.post(f"{API}/albums", json={"name": ""}), 422, "invalid")
    problem(asking.post(f"{API}/albums", json={"name": "\u200b \t"}), 400, "bad_request")
    surrogate = {"content": '{"name": "\\ud800"}', "headers": {"content-type": "application/json"}}
    problem(asking.post(f"{API}/albums", **surrogate), 422, "invalid")


def test_people_by_hand(asking) -> None:
    first, second, _ = ids_of(asking)
    made = asking.post(f"{API}/people", json={"name": "Rex", "kind": "pet", "ids": [first, second]})
    assert made.status_code == 201
    rex = made.json()
    assert (rex["name"], rex["kind"], rex["photos"], rex["cover_face"]) == ("Rex", "pet", 2, None)
    address = f"{API}/people/{rex['id']}"
    assert set(ids_of(asking, f"person:{rex['id']}")) == {first, second}
    found = asking.get(f"{API}/search", params={"q": "Rex"}).json()
    assert {hit["id"] for hit in found["hits"]} == {first, second}
    assert asking.patch(address, json={"name": "Rexi"}).json()["name"] == "Rexi"
    assert asking.patch(address, json={"hidden": True}).json()["hidden"] is True
    assert asking.get(f"{API}/people").json()["people"] == []
    assert len(asking.get(f"{API}/people?hidden=true").json()["people"]) == 1
    assert asking.get(f"{address}/faces").json() == {"faces": []}
    asking.request("DELETE", f"{address}/photos", json={"ids": [first, second]})
    for answer in (
        asking.get(address),
        asking.get(f"{API}/people/4711/faces"),
        asking.patch(f"{API}/people/4711", json={"name": "x"}),
        asking.post(f"{API}/people/4711/merge", json={"others": [1]}),
    ):
        problem(answer, 404, "person_not_found")
    problem(asking.get(f"{API}/faces/4711/thumbnail"), 404, "face_not_found")
    problem(asking.post(f"{API}/faces/4711", json={"name": "Ada"}), 404, "face_not_found")
    problem(asking.post(f"{API}/faces/1", json={}), 422, "invalid")
    problem(asking.post(f"{API}/faces/1", json={"name": "Ada", "person_id": 1}), 422, "invalid")


def test_a_face_is_named_and_shown(tmp_path) -> None:
    import sqlalchemy as sa

    from sensorium.photos.database.schema import faces

    folder = make_library(tmp_path / "library")
    half = Image.new("RGB", (400, 200), (20, 40, 220))
    half.paste((220, 20, 20), (0, 0, 200, 200))
    write(tmp_path / "pictures" / "red.jpg", half)
    with local_client(application(folder)) as asking:
        services = asking.app.state.services
        for _ in services.library.index([]):
            pass
        photo = next(
            card["id"]
            for card in asking.get(f"{API}/photos?ids=1,2,3").json()["photos"]
            if card["name"] == "red.jpg"
        )
        row = {"photo_id": photo, "left": 0.1, "top": 0.2, "right": 0.3, "bottom": 0.6}
        row |= {"score": 0.9, "quality": 0.5, "model": "test", "embedding": b"\0" * 8}
        with services.library.store.writing(advance=True) as connection:
            face = connection.execute(sa.insert(faces).values(row)).inserted_primary_key[0]
        shown = asking.get(f"{API}/faces/{face}/thumbnail")
        square = Image.open(io.BytesIO(shown.content)).convert("RGB")
        assert square.width == square.height
        assert square.getpixel((square.width // 2, square.height // 2))[0] > 180
        again = asking.get(f"{API}/faces/{face}/thumbnail", headers={"if-none-match": shown.headers["etag"]})
        assert again.status_code == 304
        person = asking.post(f"{API}/faces/{face}", json={"name": "Ada"}).json()["person_id"]
        detail = asking.get(f"{API}/photos/{photo}").json()
        assert detail["faces"][0]["person"] == {"id": person, "name": "Ada"}
        assert asking.get(f"{API}/people/{person}").json()["cover_face"] == face
        asking.post(f"{API}/faces/{face}", json={"not_person_id": person})
        assert asking.get(f"{API}/photos/{photo}").json()["faces"][0]["person"] is None


def test_duplicates(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    pictures = tmp_path / "pictures"
    write(pictures / "one.jpg", picture(1))
    (pictures / "two.jpg").write_bytes((pictures / "one.jpg").read_bytes())
    with local_client(application(folder)) as asking:
        for _ in asking.app.state.services.library.index([]):
            pass
        found = asking.get(f"{API}/duplicates?kind=exact").json()
        assert found["total"] == 1
        group = found["groups"][0]
        assert sorted(photo["name"] for photo in group["photos"]) == ["one.jpg", "two.jpg"]
        assert sum(photo["best"] for photo in group["photos"]) == 1
        assert asking.get(f"{API}/duplicates?offset=1&kind=exact").json()["groups"] == []


def test_status_and_failures(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"no picture")
    with local_client(application(folder)) as asking:
        for _ in asking.app.state.services.library.index([]):
            pass
        status = asking.get(f"{API}/status").json()
        assert (status["photos"], status["embedded"], status["failed"]) == (3, 3, 1)
        assert status["bytes"]["database"] > 0
        assert {one["pass"] for one in status["passes"]} >= {"text", "faces"}
        failed = asking.get(f"{API}/failures").json()
        assert failed["total"] == 1
        (one,) = failed["failures"]
        assert (one["path"], one["retry"]) == ("bad.jpg", True)
        assert "text" in one["reason"]
        assert one["root_path"] == status["roots"][0]["path"]
        (tmp_path / "pictures").rename(tmp_path / "away")
        root = asking.get(f"{API}/roots").json()["roots"][0]
        assert root["offline"]["zh"].startswith("无法访问")


def test_settings(asking) -> None:
    before = asking.get(f"{API}/settings").json()
    assert before == {"language": None, "model": "sensorium/mini-clip", "watch": True}
    assert asking.patch(f"{API}/settings", json={"language": "zh", "watch": False}).json()["language"] == "zh"
    after = asking.get(f"{API}/settings").json()
    assert (after["language"], after["watch"]) == ("zh", False)
    problem(asking.patch(f"{API}/settings", json={"language": "fr"}), 422, "invalid")
    problem(asking.patch(f"{API}/settings", json={"colour": "red"}), 422, "invalid")


def test_models(asking) -> None:
    models = asking.get(f"{API}/models").json()["models"]
    answering = [model for model in models if model["answering"]]
    assert [(model["name"], model["photos"]) for model in answering] == [("sensorium/mini-clip", 3)]
    assert answering[0]["here"] is True
    assert all(model["languages"] for model in models)
    problem(asking.patch(f"{API}/settings", json={"model": "/etc"}), 422, "unknown_model")
    problem(asking.post(f"{API}/jobs", json={"kind": "index", "model": "no/such"}), 422, "unknown_model")


def test_backup_list_and_restore(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as asking:
        photo = ids_of(asking)[0]
        assert asking.get(f"{API}/backups").json()["backups"] == []
        made = finished(asking, asking.post(f"{API}/jobs", json={"kind": "backup"}).json())
        assert made["state"] == "done", made
        (backup,) = asking.get(f"{API}/backups").json()["backups"]
        assert (backup["id"], backup["bytes"]) == (made["result"]["id"], made["result"]["bytes"])
        saved = asking.get(f"{API}/backups/{backup['id']}/file")
        assert saved.content[:15] == b"SQLite format 3"
        assert saved.headers["content-disposition"].startswith("attachment")
        asking.post(f"{API}/photos/marks", json={"ids": [photo], "favourite": True})
        assert ids_of(asking, "favourites") == [photo]
        wanted = {"kind": "restore", "backup": backup["id"]}
        restored = finished(asking, asking.post(f"{API}/jobs", json=wanted).json())
        assert restored["state"] == "done", restored
        assert ids_of(asking, "favourites") == []
        assert len(ids_of(asking)) == 3
        replaced = restored["result"]["replaced"]
        assert replaced in [one["id"] for one in asking.get(f"{API}/backups").json()["backups"]]
        assert asking.delete(f"{API}/backups/{replaced}").status_code == 204
        for name in ("none.sqlite3", "..%2Flibrary.sqlite3", "%2Fetc%2Fpasswd"):
            assert asking.get(f"{API}/backups/{name}/file").status_code == 404
            wanted = {"kind": "restore", "backup": name}
            problem(asking.post(f"{API}/jobs", json=wanted), 404, "backup_not_found")
        problem(asking.post(f"{API}/jobs", json={"kind": "restore"}), 422, "invalid")


def test_check_is_a_job(asking) -> None:
    job = finished(asking, asking.post(f"{API}/jobs", json={"kind": "check", "content": True}).json())
    assert job["state"] == "done", job
    assert job["result"]["sound"] is True
    assert asking.get(f"{API}/jobs").json()["jobs"][0]["id"] == job["id"]
    problem(asking.get(f"{API}/jobs/none"), 404, "job_not_found")
    problem(asking.delete(f"{API}/jobs/none"), 404, "job_not_found")
    problem(asking.post(f"{API}/jobs", json={"kind": "dance"}), 422, "invalid")


def test_folders_are_checked(asking, tmp_path) -> None:
    for path in ("relative", "/no/such/folder", "/etc/hostname", "/a\0b"):
        problem(asking.post(f"{API}/roots", json={"path": path}), 422, "bad_folder")
    own = asking.app.state.services.folder
    problem(asking.post(f"{API}/roots", json={"path": str(own)}), 422, "bad_folder")
    problem(asking.delete(f"{API}/roots/4711"), 404, "root_not_found")


def test_a_folder_is_let_go(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as asking:
        photo = ids_of(asking)[0]
        asking.post(f"{API}/people", json={"name": "Ada", "ids": [photo]})
        root = asking.get(f"{API}/roots").json()["roots"][0]
        assert asking.delete(f"{API}/roots/{root['id']}").json() == {"photos": 3}
        assert ids_of(asking) == []
        assert asking.get(f"{API}/people").json()["people"] == []
        problem(asking.get(f"{API}/search", params={"q": "red"}), 409, "library_empty")
        job = finished(asking, asking.post(f"{API}/jobs", json={"kind": "check"}).json())
        assert job["result"] == {"sound": True, "findings": [], "total": 0}
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_events_of_a_job_end_with_it(asking) -> None:
    job = asking.post(f"{API}/jobs", json={"kind": "check"}).json()
    with asking.stream("GET", f"{API}/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = list(stream.iter_lines())
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert told[-1]["state"] == "done"
    assert {one["id"] for one in told} == {job["id"]}


def test_pages_hear_of_changes(asking) -> None:
    """The library's generation, changed by whichever process, is an event."""
    services = asking.app.state.services

    async def first_change() -> dict:
        import contextlib

        from sensorium.server.tasks.events import Event

        async with contextlib.aclosing(services.events.listen(Event(None, "hello", {}))) as events:
            await anext(events)
            with services.library.store.writing(advance=True):
                pass
            while (event := await anext(events)).kind != "library":
                continue
            return event.data

    told = asking.portal.call(first_change)
    assert told == {"generation": services.library.generation()}


def test_points_of_the_map(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as asking:
        store = asking.app.state.services.library.store
        with store.writing(advance=True) as connection:
            connection.exec_driver_sql(
                "UPDATE photos SET latitude = 35.0116, longitude = 135.76812345 WHERE id = 1"
            )
        points = asking.get(f"{API}/places/points").json()
        assert (points["ids"], points["latitudes"], points["longitudes"]) == ([1], [35.0116], [135.76812])
        problem(asking.get(f"{API}/places/points?scope=moon"), 400, "bad_request")


def test_everybody_keeps_working_while_the_library_is_replaced(tmp_path) -> None:
    """A restore opens the library anew under running requests."""
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as asking:
        services = asking.app.state.services

        async def run() -> list[int]:
            import asyncio

            async def ask() -> int:
                return await services.call(lambda library: library.store.count_photos(None)[0])

            async def reopen() -> int:
                await services.reopen()
                return 3

            works = [reopen() if number % 5 == 2 else ask() for number in range(40)]
            return await asyncio.gather(*works)

        assert asking.portal.call(run) == [3] * 40


@pytest.mark.parametrize(
    ("request_", "state"),
    [
        ({"kind": "check", "library": "/no/such/library"}, "error"),
        ({"kind": "backup", "library": "/no/such/library", "backups": "/proc/none"}, "error"),
    ],
)
def test_work_tells_its_errors_in_a_line(monkeypatch, capsys, request_: dict, state: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request_) + "\n"))
    with pytest.raises(SystemExit) as ended:
        work.main()
    assert ended.value.code == 1
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert "\n" not in last[state]["detail"]
    assert last[state]["code"] == "library_unavailable"


def test_work_imports_no_web_framework() -> None:
    import subprocess
    import sys

    code = "import sensorium.server.tasks.work, sensorium.server.pictures.decoding, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "starlette", "torch", "uvicorn"} & set(done.stdout.split())


@pytest.mark.slow
def test_a_folder_is_added_by_the_real_indexer(tmp_path) -> None:
    """The child process opens the embedded model; failures are tried again when they are asked for."""
    folder = tmp_path / "library"
    pictures = tmp_path / "pictures"
    write(pictures / "one.jpg", picture(1))
    (pictures / "bad.jpg").write_bytes(b"no picture")
    with local_client(application(folder)) as asking:
        job = finished(asking, asking.post(f"{API}/roots", json={"path": str(pictures)}).json())
        assert (job["state"], job["result"]["encoded"], job["result"]["failed"]) == ("done", 1, 1)
        assert len(ids_of(asking)) == 1
        again = finished(asking, asking.post(f"{API}/jobs", json={"kind": "index"}).json())
        assert again["result"]["failed_before"] == 1
        write(pictures / "good.jpg", picture(2))
        retried = finished(asking, asking.post(f"{API}/jobs", json={"kind": "retry"}).json())
        assert (retried["result"]["retried"], retried["result"]["encoded"]) == (1, 1)
