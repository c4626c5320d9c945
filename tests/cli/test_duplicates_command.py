"""``sensorium duplicates`` as a person and as a program see it."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from typer import Typer
from typer.testing import CliRunner

from sensorium.cli import collections
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Rows alone: two equal files, a smaller copy, and another photo."""
    with closing(Store(tmp_path / "library", create=True)) as store:
        root = store.add_root(str(tmp_path / "pictures")).id
        pipeline = store.add_pipeline("test", "test-1", 2).id
        for number, (name, content, hashed, width) in enumerate(
            [
                ("a.png", 1, 1, 320),
                ("copy \x1b.png", 1, 1, 320),
                ("small.png", 2, 1, 160),
                ("b.png", 3, 99, 90),
            ],
            start=1,
        ):
            row = {
                "id": number, "root_id": root, "path": name, "size": 10 * width, "mtime_ns": 1,
                "kind": "photo", "sha256": bytes([content] * 32), "perceptual_hash": bytes([hashed] * 8),
                "format": "PNG", "width": width, "height": 100, "orientation": 1, "facts_version": 1,
                "first_seen": 0, "last_seen": 0,
            }  # fmt: skip
            vector = np.array([1, 0], "<f2").tobytes()
            with store.writing(advance=True) as connection:
                connection.execute(sa.insert(schema.photos).values(row))
                of_photo = {"photo_id": number, "pipeline_id": pipeline, "vector": vector}
                connection.execute(sa.insert(schema.vectors).values(of_photo))
    return tmp_path / "library"


def ask(*arguments: str) -> str:
    app = Typer()
    collections.register(app)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_groups_are_listed_the_best_first(library):
    shown = ask("--library", str(library))
    lines = shown.splitlines()
    assert lines[0] == "equal files:"
    assert "small.png" in shown
    assert "\x1b" not in shown
    assert lines[-1].startswith("2 groups; the photos behind the first of each take")
    assert "small.png" not in ask("--library", str(library), "--exact")


def test_json(library):
    told = json.loads(ask("--library", str(library), "--json"))
    assert [group["kind"] for group in told["groups"]] == ["exact", "near"]
    assert told["waiting"] == 0
    best, small = told["groups"][1]["photos"]
    assert (best["width"], small["width"]) == (320, 160)
    assert small["path"].endswith("pictures/small.png")
    assert set(best) == {"id", "path", "width", "height", "bytes"}
