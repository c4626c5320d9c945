"""The grid, cards, thumbnails and originals, asked over HTTP."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from serving import application, local_client, make_library, problem

from sensorium.server.pictures import decoding

API = "/api/v1"


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    folder = make_library(tmp_path_factory.mktemp("photos") / "library")
    with local_client(application(folder)) as client:
        yield client


@pytest.fixture
def alone(tmp_path):
    """A library of the test's own, beside its pictures."""
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as client:
        yield client, tmp_path / "pictures"


def ids_of(asking) -> list[int]:
    return asking.get(f"{API}/grid").json()["ids"]


def named(asking, name: str) -> int:
    cards = asking.get(f"{API}/photos", params={"ids": ",".join(map(str, ids_of(asking)))}).json()["photos"]
    return next(card["id"] for card in cards if card["name"] == name)


def test_grid_has_columns_of_one_length(asking) -> None:
    grid = asking.get(f"{API}/grid").json()
    assert len(grid["ids"]) == len(grid["ratios"]) == len(grid["versions"]) // 4 == 3
    assert sum(month["count"] for month in grid["months"]) == 3
    assert grid["months"][-1]["month"] is None
    assert grid["ratios"] == [1.0, 1.0, 1.0]


def test_grid_is_not_sent_twice(asking) -> None:
    first = asking.get(f"{API}/grid")
    assert first.headers["content-encoding"] == "gzip"
    again = asking.get(f"{API}/grid", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = asking.get(f"{API}/grid?scope=favourites", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200
    plain = asking.get(f"{API}/grid", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == first.json()


def test_a_mark_makes_another_grid(alone) -> None:
    asking, _ = alone
    before = asking.get(f"{API}/grid")
    photo = before.json()["ids"][0]
    assert asking.post(f"{API}/photos/marks", json={"ids": [photo], "favourite": True}).json() == {
        "changed": 1
    }
    after = asking.get(f"{API}/grid", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.json()["generation"] > before.json()["generation"]
    assert asking.get(f"{API}/grid?scope=favourites").json()["ids"] == [photo]
    asking.post(f"{API}/photos/marks", json={"ids": [photo], "hidden": True})
    assert photo not in ids_of(asking)
    assert asking.get(f"{API}/grid?scope=hidden").json()["ids"] == [photo]


def test_unknown_scope_and_ids(asking) -> None:
    problem(asking.get(f"{API}/grid?scope=nonsense"), 400, "bad_request")
    problem(asking.get(f"{API}/photos/999999"), 404, "photo_not_found")
    problem(asking.get(f"{API}/photos/999999/thumbnail"), 404, "photo_not_found")
    problem(asking.get(f"{API}/photos/999999/media"), 404, "photo_not_found")
    problem(asking.get(f"{API}/photos/0"), 422, "invalid")
    problem(asking.get(f"{API}/photos/9223372036854775808"), 422, "invalid")
    problem(asking.get(f"{API}/photos?ids=1,,2"), 422, "invalid")
    problem(asking.get(f"{API}/photos/1/thumbnail?size=241"), 422, "invalid")
    assert asking.get(f"{API}/photos?ids=9999999999999999999").json() == {"photos": []}


def test_cards_come_in_the_order_asked_for(asking) -> None:
    ids = ids_of(asking)
    wanted = [ids[2], 12345, ids[0]]
    cards = asking.get(f"{API}/photos", params={"ids": ",".join(map(str, wanted))}).json()["photos"]
    assert [card["id"] for card in cards] == [ids[2], ids[0]]
    grid = asking.get(f"{API}/grid").json()
    place = grid["ids"].index(ids[2])
    assert cards[0]["version"] == grid["versions"][4 * place : 4 * place + 4]


def test_detail_tells_everything(asking) -> None:
    detail = asking.get(f"{API}/photos/{named(asking, 'red.jpg')}").json()
    assert detail["path"].endswith("pictures/red.jpg")
    assert (detail["width"], detail["format"], detail["people"], detail["text"]) == (64, "JPEG", [], None)


def test_thumbnail_is_small_cached_and_never_enlarged(asking) -> None:
    photo = named(asking, "red.jpg")
    first = asking.get(f"{API}/photos/{photo}/thumbnail?size=240")
    assert first.headers["content-type"] == "image/webp"
    picture = Image.open(io.BytesIO(first.content))
    assert picture.size == (64, 64)
    assert np.abs(np.asarray(picture.convert("RGB")).mean((0, 1)) - (220, 20, 20)).max() < 6
    assert picture.info.keys().isdisjoint({"exif", "xmp", "icc_profile"})
    assert "immutable" not in first.headers["cache-control"]
    again = asking.get(f"{API}/photos/{photo}/thumbnail", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    version = asking.get(f"{API}/photos/{photo}").json()["version"]
    for_ever = asking.get(f"{API}/photos/{photo}/thumbnail?v={version}")
    assert "immutable" in for_ever.headers["cache-control"]
    assert "immutable" not in asking.get(f"{API}/photos/{photo}/thumbnail?v=AAAA").headers["cache-control"]


def test_sizes_are_bounded_upright_and_come_together(alone) -> None:
    asking, pictures = alone
    wide = Image.new("RGB", (900, 300), (20, 200, 40))
    wide.paste((220, 20, 20), (0, 0, 450, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned: what is left is on top
    wide.save(pictures / "turned.jpg", exif=exif, quality=95)
    index(asking)
    photo = named(asking, "turned.jpg")
    sizes = {}
    for size in (1600, 720, 240):
        content = asking.get(f"{API}/photos/{photo}/thumbnail?size={size}").content
        picture = sizes[size] = Image.open(io.BytesIO(content)).convert("RGB")
        top = picture.getpixel((picture.width // 2, picture.height // 4))
        assert top[0] > 180 > 80 > top[1]
    assert {size: picture.size for size, picture in sizes.items()} == {
        1600: (300, 900),
        720: (240, 720),
        240: (80, 240),
    }
    folder = asking.app.state.services.thumbnails.folder
    assert len(list(folder.rglob("*.webp"))) == 3  # all three were made by the first request
    assert asking.app.state.services.thumbnails.bytes == sum(f.stat().st_size for f in folder.rglob("*.webp"))


def index(asking) -> None:
    """What another process does; the server hears of it."""
    services = asking.app.state.services
    for _ in services.library.index([]):
        pass
    services.generation = services.library.generation()


def test_thumbnail_changes_with_the_file(alone) -> None:
    asking, pictures = alone
    photo = named(asking, "red.jpg")
    before = asking.get(f"{API}/photos/{photo}/thumbnail")
    Image.new("RGB", (80, 40), (20, 40, 220)).save(pictures / "red.jpg")
    index(asking)
    after = asking.get(f"{API}/photos/{photo}/thumbnail", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert Image.open(io.BytesIO(after.content)).size == (80, 40)


def test_edited_but_not_indexed_yet_is_not_kept_under_the_old_content(alone) -> None:
    asking, pictures = alone
    photo = named(asking, "red.jpg")
    Image.new("RGB", (80, 40), (20, 40, 220)).save(pictures / "red.jpg")
    shown = asking.get(f"{API}/photos/{photo}/thumbnail")
    assert Image.open(io.BytesIO(shown.content)).size == (80, 40)
    services = asking.app.state.services
    sha256 = services.contents.remembered(photo, services.generation)
    assert not services.thumbnails.place(sha256.hex(), 240).exists()


def test_offline_photo_keeps_its_thumbnail(alone) -> None:
    asking, pictures = alone
    red, blue = named(asking, "red.jpg"), named(asking, "blue.jpg")
    made = asking.get(f"{API}/photos/{red}/thumbnail").content
    pictures.rename(pictures.with_name("away"))
    assert asking.get(f"{API}/photos/{red}/thumbnail").content == made
    problem(asking.get(f"{API}/photos/{blue}/thumbnail"), 503, "photo_offline")
    problem(asking.get(f"{API}/photos/{blue}/media"), 503, "photo_offline")
    card = asking.get(f"{API}/photos?ids={red}").json()["photos"][0]
    assert card["offline"] is True


def test_vanished_and_broken_originals(alone) -> None:
    asking, pictures = alone
    red, green = named(asking, "red.jpg"), named(asking, "green.jpg")
    (pictures / "red.jpg").unlink()
    problem(asking.get(f"{API}/photos/{red}/thumbnail"), 410, "photo_gone")
    problem(asking.get(f"{API}/photos/{red}/media"), 410, "photo_gone")
    (pictures / "green.jpg").write_bytes(b"not a picture any more")
    told = problem(asking.get(f"{API}/photos/{green}/thumbnail"), 422, "bad_image")
    assert "text" in told["detail"]


def test_half_a_thumbnail_is_made_again(alone) -> None:
    asking, _ = alone
    photo = named(asking, "red.jpg")
    whole = asking.get(f"{API}/photos/{photo}/thumbnail").content
    place = next(asking.app.state.services.thumbnails.folder.rglob("*.webp"))
    place.write_bytes(whole[: len(whole) // 2])
    assert asking.get(f"{API}/photos/{photo}/thumbnail").content == whole


def test_cache_is_cleared(alone) -> None:
    asking, _ = alone
    photo = named(asking, "red.jpg")
    content = asking.get(f"{API}/photos/{photo}/thumbnail").content
    assert asking.get(f"{API}/status").json()["bytes"]["thumbnails"] == len(content)
    assert asking.delete(f"{API}/thumbnails").json() == {"bytes": len(content)}
    assert asking.get(f"{API}/status").json()["bytes"]["thumbnails"] == 0
    assert asking.get(f"{API}/photos/{photo}/thumbnail").content == content


def test_media_is_the_original(alone) -> None:
    asking, pictures = alone
    raw = (pictures / "red.jpg").read_bytes()
    address = f"{API}/photos/{named(asking, 'red.jpg')}/media"
    whole = asking.get(address)
    assert whole.content == raw
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["content-disposition"] == 'inline; filename="red.jpg"'
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = asking.get(address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, raw[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(raw)}"
    assert asking.get(address, headers={"range": "bytes=-5"}).content == raw[-5:]
    several = asking.get(address, headers={"range": "bytes=0-1,5-6"})
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert raw[5:7] in several.content
    assert asking.get(address, headers={"range": f"bytes={len(raw)}-"}).status_code == 416
    etag = whole.headers["etag"]
    fresh = asking.get(address, headers={"range": "bytes=0-3", "if-range": etag})
    assert fresh.status_code == 206
    stale = asking.get(address, headers={"range": "bytes=0-3", "if-range": '"other"'})
    assert (stale.status_code, stale.content) == (200, raw)
    assert asking.get(address, headers={"if-none-match": etag}).status_code == 304
    saved = asking.get(f"{address}?download=1")
    assert saved.headers["content-disposition"].startswith("attachment")


def test_names_of_any_bytes_are_sent(alone) -> None:
    asking, pictures = alone
    odd = os.fsdecode(b'caf\xe9 \xe7\x8c\xab\n"x".jpg')
    (pictures / "red.jpg").rename(pictures / odd)
    index(asking)
    photo = next(photo for photo in ids_of(asking) if "x" in name_of(asking, photo))
    answer = asking.get(f"{API}/photos/{photo}/media?download=1")
    told = answer.headers["content-disposition"]
    assert told.isascii()
    assert told.startswith("attachment; filename*=utf-8''caf")
    assert "\n" not in told


def name_of(asking, photo: int) -> str:
    return asking.get(f"{API}/photos?ids={photo}").json()["photos"][0]["name"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html><script>alert(1)</script>", "application/octet-stream"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "application/octet-stream"),
        (b"%PDF-1.7", "application/octet-stream"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01webm", "video/webm"),
    ],
)
def test_type_is_told_by_content(alone, content: bytes, kind: str) -> None:
    asking, pictures = alone
    photo = named(asking, "red.jpg")
    (pictures / "red.jpg").write_bytes(content)
    answer = asking.get(f"{API}/photos/{photo}/media")
    assert answer.headers["content-type"] == kind
    saved = answer.headers["content-disposition"].startswith("attachment")
    assert saved == (kind == "application/octet-stream")


def test_nothing_outside_the_folders_is_sent(alone, tmp_path) -> None:
    asking, pictures = alone
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (8, 8)).save(secret)
    red = named(asking, "red.jpg")
    (pictures / "red.jpg").unlink()
    (pictures / "red.jpg").symlink_to(secret)
    told = problem(asking.get(f"{API}/photos/{red}/media"), 403, "photo_outside")
    assert "secret" not in told["detail"]
    problem(asking.get(f"{API}/photos/{red}/thumbnail"), 403, "photo_outside")
    blue = named(asking, "blue.jpg")
    (pictures / "red.jpg").unlink()
    (pictures / "red.jpg").symlink_to(pictures / "blue.jpg")  # a link that stays inside is fine
    assert asking.get(f"{API}/photos/{red}/media").content == asking.get(f"{API}/photos/{blue}/media").content
    (pictures / "red.jpg").unlink()
    os.mkfifo(pictures / "red.jpg")
    problem(asking.get(f"{API}/photos/{red}/media"), 422, "photo_unreadable")


def test_export_is_a_zip(alone) -> None:
    import zipfile

    asking, pictures = alone
    ids = ids_of(asking)
    answer = asking.post(f"{API}/export", json={"ids": ids})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["blue.jpg", "green.jpg", "red.jpg"]
        assert archive.read("red.jpg") == (pictures / "red.jpg").read_bytes()


def test_a_crowd_draws_a_picture_once(alone, monkeypatch) -> None:
    """Whoever asks while a thumbnail is being made waits for it."""
    import anyio

    asking, _ = alone
    services = asking.app.state.services
    photo = named(asking, "red.jpg")
    drawn = []
    run = services.decoders.run

    async def counting(work, *arguments):
        drawn.append(work)
        await anyio.sleep(0.05)
        return await run(work, *arguments)

    monkeypatch.setattr(services.decoders, "run", counting)
    from sensorium.photos.files.originals import original_of

    original = original_of(services.library.store, photo)

    async def crowd() -> list[bytes]:
        import asyncio

        return await asyncio.gather(*(services.thumbnails.make(original, 240) for _ in range(20)))

    contents = asking.portal.call(crowd)
    assert (len(drawn), len(set(contents))) == (1, 1)
    assert drawn == [decoding.draw]


def test_grid_of_many_is_small() -> None:
    """100,000 photos are less than a megabyte on the wire, and come out as they went in."""
    from types import SimpleNamespace

    from sensorium.photos.collections.browse import Grid, Month
    from sensorium.server.routes.photos import _grid_bytes

    count, draw = 100_000, np.random.default_rng(0)
    ids = draw.permutation(np.arange(1, count + 1))
    contents = draw.integers(0, 256, (count, 3), dtype=np.uint8)
    ratios = draw.choice(np.array([4 / 3, 3 / 4, 16 / 9], np.float32), count)
    months = (Month("2021-05", 0, count),)
    grid = Grid(7, ids, ratios, np.zeros(count, np.int32), contents, months)
    generation, packed = _grid_bytes(SimpleNamespace(browse=SimpleNamespace(grid=lambda _: grid)), "all")
    assert len(packed) < 1_000_000
    told = json.loads(gzip.decompress(packed))
    assert (generation, told["generation"], told["ids"]) == (7, 7, ids.tolist())
    assert told["ratios"][:1] == [round(float(ratios[0]), 2)]
    assert base64.urlsafe_b64decode(told["versions"][400:404]) == contents[100].tobytes()


def test_a_full_disk_keeps_no_thumbnail_from_anybody(alone) -> None:
    asking, _ = alone
    folder = asking.app.state.services.thumbnails.folder
    folder.write_bytes(b"")  # nothing can be made below a file
    photo = named(asking, "red.jpg")
    for _ in range(2):
        shown = asking.get(f"{API}/photos/{photo}/thumbnail")
        assert Image.open(io.BytesIO(shown.content)).size == (64, 64)
    assert folder.read_bytes() == b""


@pytest.mark.parametrize("range_", [None, "bytes=0-99999", "bytes=0-9,50000-50009"])
def test_who_leaves_in_the_middle_leaves_no_file_open(tmp_path, range_) -> None:
    """A disconnected client makes the server's `send` raise; the original is closed all the same."""
    import asyncio

    from sensorium.server.pictures.media import OpenFileResponse

    (tmp_path / "large").write_bytes(bytes(300_000))
    file = (tmp_path / "large").open("rb")
    response = OpenFileResponse(file, media_type="video/mp4", headers={}, name="x.mp4", save=False)
    headers = [(b"range", range_.encode())] if range_ else []
    scope = {"type": "http", "method": "GET", "headers": headers, "asgi": {"spec_version": "2.4"}}
    sent = []

    async def send(message) -> None:
        sent.append(message["type"])
        if len(sent) == 2:
            raise OSError("gone")

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    with pytest.raises(OSError, match="gone"):
        asyncio.run(response(scope, receive, send))
    assert sent == ["http.response.start", "http.response.body"]
    assert file.closed
