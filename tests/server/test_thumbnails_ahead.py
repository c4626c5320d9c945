"""Small pictures that are made while nobody asks, so that photos of a disk that is away have them."""

import time

from live import until
from photo_fakes import picture, plain, write
from serving import application, index, local_client


def made(folder) -> int:
    return len(list((folder / "thumbnails" / "240").rglob("*.webp")))


def filled(tmp_path):
    disk = tmp_path / "disk"
    for place, colour in enumerate(("red", "green", "blue")):
        write(disk / f"{colour}.jpg", plain(colour, size=(300 + place, 200)))
    index(tmp_path / "library", disk)
    return tmp_path / "library", disk


def test_a_photo_that_nobody_looked_at_is_shown_after_its_disk_went(tmp_path):
    folder, disk = filled(tmp_path)
    with local_client(application(folder, ahead=0.05)) as asking:
        assert until(lambda: made(folder) == 3)
        disk.rename(tmp_path / "unplugged")
        for photo in asking.get("/api/v1/grid").json()["ids"]:
            answer = asking.get(f"/api/v1/photos/{photo}/thumbnail?size=240")
            assert answer.status_code == 200
            assert answer.content[8:12] == b"WEBP"
        assert not (folder / "thumbnails" / "1600").exists()


def test_nothing_is_made_while_somebody_asks(tmp_path):
    folder, _ = filled(tmp_path)
    with local_client(application(folder, ahead=1.5)) as asking:
        for _ in range(20):
            assert asking.get("/api/v1/status").status_code == 200
            assert made(folder) == 0
            time.sleep(0.1)
        assert until(lambda: made(folder) == 3)


def test_a_new_photo_follows(tmp_path):
    folder, disk = filled(tmp_path)
    with local_client(application(folder, ahead=0.05)):
        assert until(lambda: made(folder) == 3)
        write(disk / "white.jpg", picture(7))
        index(folder, disk)
        assert until(lambda: made(folder) == 4)
