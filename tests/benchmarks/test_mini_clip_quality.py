"""The measurement of photo search: metrics against cases worked out by hand, and the frozen query set."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import mini_clip_quality as quality  # noqa: E402
from mini_clip_eval import photos, untrained  # noqa: E402
from sensorium.train.data.sources import SOURCES  # noqa: E402

FROZEN = "7c0346e0503390c98560479168ed6351deee4ee5e87bda90824e4bafa91fe831"


def test_ranks_of_relevant_photos_start_at_one():
    scores = np.array([0.1, 0.9, 0.5, 0.7])
    assert quality.ranks(scores, [1]) == [1]
    assert quality.ranks(scores, [0, 3]) == [2, 4]


def test_equal_scores_put_the_relevant_photo_last():
    assert quality.ranks(np.zeros(5), [0]) == [5]
    assert quality.ranks(np.array([0.5, 0.5, 0.2]), [0]) == [2]


def test_one_relevant_photo_at_the_first_place_is_perfect():
    assert quality.score([1]) == {"hit@1": 1.0, "hit@5": 1.0, "hit@10": 1.0, "mAP": 1.0}


def test_average_precision_of_ranks_worked_out_by_hand():
    # found at 2, 3 and 6: (1/2 + 2/3 + 3/6) / 3
    got = quality.score([2, 3, 6])
    assert got["mAP"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert (got["hit@1"], got["hit@5"], got["hit@10"]) == (0.0, 1.0, 1.0)


def test_hits_count_the_last_place_of_their_list():
    assert quality.score([5])["hit@5"] == 1.0
    assert quality.score([6])["hit@5"] == 0.0
    assert quality.score([10])["hit@10"] == 1.0
    assert quality.score([11])["hit@10"] == 0.0
    assert quality.score([11])["mAP"] == pytest.approx(1 / 11)


def test_bootstrap_of_equal_values_has_no_width():
    assert quality.bootstrap(np.full(7, 0.25)) == quality.Interval(0.25, 0.25, 0.25)


def test_bootstrap_interval_is_that_of_the_binomial():
    # 25 hits of 100: standard error sqrt(.25 * .75 / 100) = .0433, so about .25 +- .085
    got = quality.bootstrap(np.repeat([1.0, 0.0], [25, 75]))
    assert got.mean == 0.25
    assert got.low == pytest.approx(0.165, abs=0.015)
    assert got.high == pytest.approx(0.335, abs=0.015)


def result(values: dict[str, float]) -> dict:
    return {"queries": {query: dict.fromkeys(quality.METRICS, value) for query, value in values.items()}}


def test_comparison_pairs_the_queries():
    queries = [quality.Query(f"en{i}", "en", "object", "", ["p001"]) for i in range(10)]
    better = result({query.id: i / 10 + 0.05 for i, query in enumerate(queries)})
    worse = result({query.id: i / 10 for i, query in enumerate(queries)})
    difference = quality.compare(better, worse, queries)["en"]["mAP"]
    # queries differ much from each other, the models always by the same: pairing leaves no spread
    assert difference == pytest.approx({"mean": 0.05, "low": 0.05, "high": 0.05})


def test_summary_separates_languages_and_kinds():
    queries = [
        quality.Query("en1", "en", "animal", "", ["p001"]),
        quality.Query("en2", "en", "scene", "", ["p001"]),
        quality.Query("zh1", "zh", "animal", "", ["p001"]),
    ]
    summary = quality.summarize(result({"en1": 1.0, "en2": 0.0, "zh1": 1.0}), queries)
    assert summary["en"]["mAP"]["mean"] == 0.5
    assert summary["en"]["kinds"]["animal"] == {"count": 1, **dict.fromkeys(quality.METRICS, 1.0)}
    assert summary["zh"]["count"] == 1
    assert "scene" not in summary["zh"]["kinds"]


def test_missing_photos_shrink_or_drop_queries(tmp_path):
    file = tmp_path / "queries.json"
    common = {"language": "en", "kind": "object", "text": "x"}
    file.write_text(
        json.dumps(
            {
                "queries": [
                    {"id": "a", "relevant": ["p001", "p002"], **common},
                    {"id": "b", "relevant": ["p002"], **common},
                ]
            }
        )
    )
    kept, lost = quality.load_queries(file, {"p001", "p003"})
    assert [(query.id, query.relevant) for query in kept] == [("a", ["p001"])]
    assert lost == ["b"]


class Colours:
    """A model that knows red from blue."""

    def embed_images(self, images):
        means = np.stack([np.asarray(image, np.float32).mean((0, 1)) for image in images])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def embed_texts(self, texts):
        return np.array([[1.0, 0, 0] if text == "red" else [0, 0, 1.0] for text in texts], np.float32)

    def engines(self):
        return {"image": "mean"}


def test_measuring_a_model_from_files_to_report(tmp_path):
    shown = {"p001": (255, 0, 0), "p002": (0, 0, 255), "p003": (90, 0, 255)}
    files = {}
    for name, colour in shown.items():
        files[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (20, 10), colour).save(files[name])
    queries = [
        quality.Query("en01", "en", "colour", "red", ["p001"]),
        quality.Query("zh01", "zh", "colour", "blue", ["p003"]),
    ]
    measured = quality.measure(Colours(), files, queries, 8)
    assert measured["queries"]["en01"]["ranks"] == [1]
    assert measured["queries"]["zh01"]["ranks"] == [2]
    assert measured["queries"]["zh01"]["mAP"] == 0.5
    measured["summary"] = quality.summarize(measured, queries)
    text = quality.report({"Colours": measured}, {"a minus b": quality.compare(measured, measured, queries)})
    assert "English 1" in text
    assert "0.50 [0.50, 0.50]" in text
    assert "+0.00 [+0.00, +0.00]" in text


class Swapped(Colours):
    """The same model with its pictures' red and blue exchanged."""

    def embed_images(self, images):
        return super().embed_images(images)[:, ::-1]


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """Two photos and two queries in place of the set, and two models in place of real ones."""
    files = {}
    for name, colour in (("p001", (255, 0, 0)), ("p002", (0, 0, 255))):
        files[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (20, 10), colour).save(files[name])
    queries = tmp_path / "queries.json"
    entries = [
        {"id": "en01", "language": "en", "kind": "colour", "text": "red", "relevant": ["p001"]},
        {"id": "zh01", "language": "zh", "kind": "colour", "text": "blue", "relevant": ["p002"]},
        {"id": "zh02", "language": "zh", "kind": "object", "text": "gone", "relevant": ["p003"]},
    ]
    queries.write_text(json.dumps({"queries": entries}))
    fetched = photos.Fetched(files, {"p003": "the package holds another one now"})
    monkeypatch.setattr(quality, "fetch", lambda _: fetched)
    monkeypatch.setattr(quality, "QUERIES", queries)
    monkeypatch.setattr(quality, "_models", lambda *_: {"good": Colours, "bad": Swapped})
    return fetched


def test_whole_run_compares_models_and_writes_figures(tmp_path, small_set, monkeypatch, capsys):
    target = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["quality", "--cache", str(tmp_path), "--json", str(target)])
    assert quality.main() == 0
    figures = json.loads(target.read_text(encoding="utf-8"))
    assert figures["models"]["good"]["summary"]["zh"]["hit@1"]["mean"] == 1.0
    assert figures["models"]["bad"]["queries"]["zh01"]["ranks"] == [2]
    assert figures["differences"]["good minus bad"]["en"]["mAP"]["mean"] == 0.5
    assert figures["queries_left_out"] == ["zh02"]
    printed = capsys.readouterr().out
    assert "1 of 3 photos are missing" in printed
    assert "p003: the package holds another one now" in printed
    assert "good minus bad" in printed


def test_no_photo_at_all_is_an_error_of_one_line(tmp_path, small_set, monkeypatch, capsys):
    small_set.files.clear()
    monkeypatch.setattr(sys, "argv", ["quality", "--cache", str(tmp_path)])
    assert quality.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_queries_are_those_frozen_before_any_tuning():
    assert hashlib.sha256(quality.QUERIES.read_bytes()).hexdigest() == FROZEN


def test_every_query_names_photos_of_the_set():
    raw = json.loads(photos.LIST.read_text(encoding="utf-8"))
    ids = {photo["id"] for photo in raw["photos"]}
    assert len(ids) == len(raw["photos"]) == len({photo["sha256"] for photo in raw["photos"]})
    assert {photo["package"] for photo in raw["photos"]} == set(raw["packages"])
    queries, lost = quality.load_queries(quality.QUERIES, ids)
    assert lost == []
    whole = json.loads(quality.QUERIES.read_text(encoding="utf-8"))
    assert [query.relevant for query in queries] == [entry["relevant"] for entry in whole["queries"]]
    assert len({query.id for query in queries}) == len(queries)
    assert len({query.text for query in queries}) == len(queries)
    assert {query.language for query in queries} == {"en", "zh"}


def test_photos_of_withdrawn_packages_are_not_measured():
    packages, listed = photos.read_list()
    withdrawn = {name for name, package in packages.items() if package.get("withdrawn")}
    assert withdrawn
    assert not withdrawn & {photo.package for photo in listed}
    assert len(listed) == 186


def test_the_recipe_uses_no_package_of_the_set():
    """Withdrawn ones included: examples/photos has photos of them, and nothing is trained on those either."""
    packages, _ = photos.read_list()
    assert not {source.name for source in SOURCES} & set(packages)


def package_file(tmp_path: Path, content: bytes) -> Path:
    source = tmp_path / "unpacked" / "share" / "a.jpg"
    source.parent.mkdir(parents=True)
    source.write_bytes(content)
    return source.parents[1]


def list_file(tmp_path: Path, path: str, sha256: str) -> Path:
    file = tmp_path / "photos.json"
    photo = {"id": "p001", "package": "some", "path": path, "sha256": sha256}
    file.write_text(
        json.dumps(
            {"packages": {"some": {"registry": "debian", "version": "1", "licence": "x"}}, "photos": [photo]}
        )
    )
    return file


def test_fetched_photo_is_kept_and_not_fetched_twice(tmp_path, monkeypatch):
    root = package_file(tmp_path, b"content")
    monkeypatch.setattr(photos, "unpack", lambda *_: root)
    listing = list_file(tmp_path, "share/a.jpg", hashlib.sha256(b"content").hexdigest())
    first = photos.fetch(tmp_path / "cache", listing)
    assert first.missing == {}
    assert first.files["p001"].read_bytes() == b"content"
    monkeypatch.setattr(photos, "unpack", lambda *_: pytest.fail("fetched again"))
    assert photos.fetch(tmp_path / "cache", listing).files == first.files


@pytest.mark.parametrize(
    ("path", "reason"), [("share/a.jpg", "holds another"), ("share/gone.jpg", "no longer holds")]
)
def test_changed_and_lost_photos_are_reported(tmp_path, monkeypatch, path, reason):
    root = package_file(tmp_path, b"changed")
    monkeypatch.setattr(photos, "unpack", lambda *_: root)
    got = photos.fetch(tmp_path / "cache", list_file(tmp_path, path, hashlib.sha256(b"was").hexdigest()))
    assert got.files == {}
    assert reason in got.missing["p001"]


def test_an_unreachable_package_is_reported(tmp_path, monkeypatch):
    def refuse(*_):
        raise photos.PackageError("apt-get is not on this machine")

    monkeypatch.setattr(photos, "unpack", refuse)
    got = photos.fetch(tmp_path / "cache", list_file(tmp_path, "share/a.jpg", "0"))
    assert got.missing == {"p001": "apt-get is not on this machine"}


def test_a_command_that_is_missing_or_fails_becomes_one_line(tmp_path):
    with pytest.raises(photos.PackageError, match="no-such-program-here is not on this machine"):
        photos._run(["no-such-program-here"], tmp_path)
    with pytest.raises(photos.PackageError, match="failed: wrong"):
        photos._run([sys.executable, "-c", "import sys; sys.exit('wrong')"], tmp_path)


def test_hypernyms_of_wordnet_lines(tmp_path):
    file = tmp_path / "data.noun"
    file.write_text(
        "  1 licence\n"
        "00000010 03 n 01 animal 0 000 | lives\n"
        "00000020 05 n 02 big_dog 0 hound 0 002 @ 00000010 n 0000 ~ 00000030 n 0000 | barks\n"
        "00000030 05 n 01 puppy 0 001 @ 00000020 n 0000 | young\n"
    )
    nouns = untrained.read_nouns(file)
    assert nouns["00000020"] == ("big dog", ["00000010"])
    assert untrained.hypernyms(nouns, "00000030", 0.5, 6) == [("big dog", 0.5), ("animal", 0.25)]
    assert untrained.hypernyms(nouns, "00000030", 0.5, 1) == [("big dog", 0.5)]


def test_example_photos_are_credited():
    folder = ROOT / "examples" / "photos"
    names = {file.name for file in folder.iterdir() if file.name != "CREDITS.md"}
    credits_text = (folder / "CREDITS.md").read_text(encoding="utf-8")
    credited = {line.split("|")[1].strip() for line in credits_text.splitlines() if line.startswith("| IMG_")}
    assert names == credited
    assert len(names) >= 20
