"""A pull is pinned, resumed, checked, and whole or absent: against a hub on this machine, over real HTTP."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub import COMMIT, Hub, serve

import tiny_answerers
from sensorium.errors import CheckpointError, ModelNotFoundError, SensoriumError
from sensorium.weights import catalog, pull
from sensorium.weights.files import find

NAME = "someone/something"
[KNOWN] = [known for known in catalog.ENTRIES if known.name == "openai/clip-vit-base-patch32"]
WEIGHTS = bytes(range(256)) * 20_000  # 5 MB, several blocks
FILES = {
    "README.md": b"# a card",
    "config.json": json.dumps({"model_type": "clip"}).encode(),
    "preprocessor_config.json": json.dumps(
        {
            "size": 24,
            "crop_size": 24,
            "do_center_crop": True,
            "resample": 3,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
    ).encode(),
    "vocab.json": json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}).encode(),
    "merges.txt": b"#version: 0.2\n",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"not wanted",
    "flax_model.msgpack": b"not wanted either",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.delenv("SENSORIUM_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pull, "_PAUSE", 0.0)
    return tmp_path


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(dict(FILES))
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()


def fetch(hub: Hub, name: str = NAME, revision: str | None = None) -> list[pull.Progress]:
    return list(pull.pull(name, revision=revision, endpoint=hub.address))


def test_a_model_arrives_whole_and_nothing_else_comes(hub: Hub, home: Path) -> None:
    steps = fetch(hub)
    folder = home / "models" / "someone--something"
    expected = set(FILES) - {"README.md", "pytorch_model.bin", "flax_model.msgpack"}
    assert {path.name for path in folder.iterdir()} == expected | {pull.RECORD}
    for name in expected:
        assert (folder / name).read_bytes() == FILES[name]
    assert find(NAME).folder == folder
    assert pull.verify_hashes(NAME, folder) == []
    record = pull.read_record(folder)
    assert record is not None
    assert (record.name, record.revision) == (NAME, COMMIT)
    assert record.sha256["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert {step.total for step in steps} == {sum(len(FILES[name]) for name in expected)}
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total
    assert not list((home / "models" / ".partial").iterdir())


@pytest.mark.parametrize("kind", ["llava", "instruct", "qwen"])
def test_what_answers_here_answers_where_it_was_pulled_to(kind: str, hub: Hub, tmp_path: Path) -> None:
    """Its chat template, the tokens that end an answer and a second tokenizer come along."""
    from sensorium import ask
    from sensorium.skills import answer

    made = tiny_answerers.folder_of(kind, tmp_path / "made")
    files = [path for path in made.rglob("*") if path.is_file()]
    hub.files = {path.relative_to(made).as_posix(): path.read_bytes() for path in files}
    fetch(hub)
    shown = tmp_path / "cup.png"
    tiny_answerers.gradient(60, 40).save(shown)
    asked = ask.Conversation().ask("What is this?", answer.open_shown(shown, "cup.png"))
    told = [
        [event.text for event in ask.answer(answer.load(name), asked, answer.Settings(most=6))
         if isinstance(event, ask.Answer)]
        for name in (NAME, str(made))
    ]  # fmt: skip
    assert len(told[0]) == 1
    assert told[0] == told[1]


def test_a_second_pull_asks_for_nothing(hub: Hub) -> None:
    fetch(hub)
    hub.requests.clear()
    assert fetch(hub) == fetch(hub, revision=COMMIT) == []
    assert not hub.requests


def test_a_model_that_lost_a_file_is_completed(hub: Hub) -> None:
    fetch(hub)
    weights = find(NAME).weights[0]
    weights.unlink()
    fetch(hub)
    assert weights.read_bytes() == WEIGHTS


def test_a_broken_connection_is_continued(hub: Hub) -> None:
    hub.cut_after["model.safetensors"] = [1_500_000, 700_000]
    fetch(hub)
    ranges = [wanted for name, wanted in hub.requests if name == "model.safetensors"]
    assert ranges == [None, "bytes=1500000-", "bytes=2200000-"]
    assert find(NAME).weights[0].read_bytes() == WEIGHTS


def test_an_interrupted_pull_never_looks_whole_and_goes_on(hub: Hub, home: Path) -> None:
    for step in pull.pull(NAME, endpoint=hub.address):
        if step.file == "model.safetensors" and step.done > 2_000_000:
            break  # as a killed process: nothing is told to tidy up
    with pytest.raises(ModelNotFoundError):
        find(NAME)
    (part,) = (home / "models").rglob("*.part")
    kept = part.stat().st_size
    assert kept >= 1_000_000
    hub.requests.clear()
    fetch(hub)
    assert hub.requests == [("model.safetensors", f"bytes={kept}-")]
    assert find(NAME).weights[0].read_bytes() == WEIGHTS


def test_a_server_without_ranges_starts_again(hub: Hub) -> None:
    hub.ranges = False
    hub.cut_after["model.safetensors"] = [900_000]
    fetch(hub)
    assert find(NAME).weights[0].read_bytes() == WEIGHTS


def test_too_many_breaks_say_how_to_go_on(hub: Hub, home: Path) -> None:
    hub.cut_after["model.safetensors"] = [100_000] * 7 + [0] * pull._ATTEMPTS
    with pytest.raises(ModelNotFoundError, match="pull again to continue"):
        fetch(hub)
    with pytest.raises(ModelNotFoundError):
        find(NAME)
    (part,) = (home / "models").rglob("*.part")
    assert part.stat().st_size == 700_000
    fetch(hub)
    assert find(NAME).weights[0].read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json"])
def test_corrupted_content_is_refused_and_removed(name: str, hub: Hub, home: Path) -> None:
    original = FILES[name]
    hub.swapped[name] = bytes([original[0] ^ 1]) + original[1:]
    with pytest.raises(CheckpointError, match=rf"{name} of someone/something has .*removed, pull again"):
        fetch(hub)
    assert not list((home / "models").rglob(f"{name}*"))
    with pytest.raises(ModelNotFoundError):
        find(NAME)
    hub.swapped.clear()
    fetch(hub)
    assert find(NAME).name == NAME


def test_content_of_another_length_is_refused(hub: Hub) -> None:
    hub.swapped["vocab.json"] = FILES["vocab.json"] + b" "
    with pytest.raises(CheckpointError, match="bytes instead of"):
        fetch(hub)


def test_the_catalogs_hash_counts_more_than_the_hubs(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = MappingProxyType({"model.safetensors": "0" * 64})
    entry = replace(KNOWN, name=NAME, revision=COMMIT, weights="model.safetensors", sha256=digests)
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    with pytest.raises(CheckpointError, match="the catalog says 000000"):
        fetch(hub)


def test_the_catalogs_revision_is_taken(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = replace(KNOWN, name=NAME, revision="f" * 40, sha256=MappingProxyType({}))
    monkeypatch.setattr(catalog, "ENTRIES", (pinned,))
    with pytest.raises(ModelNotFoundError, match="no model someone/something at revision fff"):
        fetch(hub)
    monkeypatch.setattr(catalog, "ENTRIES", (replace(pinned, revision=COMMIT, weights="pytorch_model.bin"),))
    fetch(hub)
    assert find(NAME).weights[0].name == "pytorch_model.bin"


def test_a_lone_file_of_its_authors_needs_no_config(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    mobile = catalog.entry("dhkim2810/MobileSAM")
    assert mobile is not None
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    lone = replace(mobile, name=NAME, sha256=MappingProxyType({"mobile_sam.pt": digest}))
    monkeypatch.setattr(catalog, "ENTRIES", (lone,))
    with pytest.raises(ModelNotFoundError, match=r"put mobile_sam\.pt into"):
        find(NAME)
    hub.files = {"README.md": b"# a card", "mobile_sam.pt": WEIGHTS}
    fetch(hub)
    found = find(NAME)
    assert (found.name, found.family, found.image) == (NAME, "sam_original", mobile.image)
    assert [path.name for path in found.weights] == ["mobile_sam.pt"]
    assert pull.verify_hashes(NAME, found.folder) == []
    hub.files["mobile_sam.pt"] = WEIGHTS[::-1]
    found.weights[0].unlink()
    with pytest.raises(CheckpointError, match="the catalog says"):
        fetch(hub)


def test_shards_are_pulled(hub: Hub) -> None:
    table = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    del hub.files["model.safetensors"], hub.files["pytorch_model.bin"]
    hub.files |= {
        "model.safetensors.index.json": json.dumps(table).encode(),
        "model-1.safetensors": b"one" * 1000,
        "model-2.safetensors": b"two" * 2000,
    }
    steps = fetch(hub)
    assert [path.name for path in find(NAME).weights] == ["model-1.safetensors", "model-2.safetensors"]
    assert steps[-1].done == steps[-1].total
    del hub.files["model-2.safetensors"]


def test_an_index_of_shards_that_are_not_there(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    hub.files["model.safetensors.index.json"] = b'{"weight_map": {"a": "gone.safetensors"}}'
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        fetch(hub)


def test_unusable_models_are_refused_before_their_weights(hub: Hub) -> None:
    hub.files["config.json"] = b'{"model_type": "gpt2"}'
    with pytest.raises(CheckpointError, match="gpt2"):
        fetch(hub)
    assert "model.safetensors" not in [name for name, _ in hub.requests]
    hub.files = {name: content for name, content in FILES.items() if name != "config.json"}
    with pytest.raises(CheckpointError, match=r"config\.json"):
        fetch(hub)
    hub.files = {"config.json": FILES["config.json"]}
    with pytest.raises(CheckpointError, match="no weights"):
        fetch(hub)


def test_files_that_someone_began_to_put_there_by_hand_are_completed(hub: Hub, home: Path) -> None:
    folder = home / "models" / "someone--something"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "vocab.json").write_text("half")
    fetch(hub)
    assert find(NAME).folder == folder
    assert (folder / "vocab.json").read_bytes() == FILES["vocab.json"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_repositories_of_open_clip(hub: Hub, home: Path) -> None:
    (home / "models" / "someone--something").mkdir(parents=True)
    config = {
        "model_cfg": {"vision_cfg": {"image_size": 24}, "text_cfg": {"context_length": 12}},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    hub.files = {
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": b"weights",
        "vocab.json": FILES["vocab.json"],
        "merges.txt": FILES["merges.txt"],
    }
    fetch(hub)
    model = find(NAME)
    assert (model.family, model.weights[0].name) == ("clip", "open_clip_model.safetensors")


def test_verification_names_what_changed(hub: Hub) -> None:
    fetch(hub)
    folder = find(NAME).folder
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").write_text("#version: 0.3\n")
    missing, changed = sorted(pull.verify_hashes(NAME, folder), reverse=True)
    assert missing == "vocab.json is missing"
    assert changed.startswith("merges.txt has SHA-256")
    assert pull.verify_hashes(NAME, folder.parent) == []  # nothing recorded, nothing claimed


def test_files_put_there_by_hand_are_held_to_the_catalog(home: Path) -> None:
    folder = home / "models" / "openai--clip-vit-base-patch32"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (fault,) = pull.verify_hashes("openai/clip-vit-base-patch32", folder)
    assert fault.startswith("config.json has SHA-256")


def test_offline_says_which_files_to_put_where(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_OFFLINE", "1")
    name = "openai/clip-vit-base-patch32"
    with pytest.raises(ModelNotFoundError) as caught:
        fetch(hub, name)
    text = str(caught.value)
    assert "\n" not in text
    entry = catalog.entry(name)
    assert entry is not None
    assert all(word in text for word in (*entry.file_names, "SENSORIUM_OFFLINE", str(entry.revision)))
    assert str(home / "models" / "openai--clip-vit-base-patch32") in text
    assert not hub.requests


def test_no_network_says_so(home: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"cannot be reached .*put config\.json, .* into "):
        list(pull.pull(NAME, endpoint="http://127.0.0.1:9"))


def test_unknown_and_gated_models(hub: Hub) -> None:
    with pytest.raises(ModelNotFoundError, match="the hub has no model someone/else"):
        fetch(hub, "someone/else")
    with pytest.raises(ModelNotFoundError, match="must look like owner/name"):
        fetch(hub, "no-slash")
    hub.gated = True
    with pytest.raises(ModelNotFoundError, match="terms"):
        fetch(hub)


def test_embedded_models_need_no_pull(hub: Hub) -> None:
    assert fetch(hub, "sensorium/mini-clip") == []
    assert not hub.requests


def test_a_full_disk_is_told(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = pull.shutil.disk_usage(home)
    monkeypatch.setattr(pull.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(SensoriumError, match="GB free"):
        fetch(hub)
    (home / "models").rename(home / "moved")
    (home / "models").write_text("a file where the folder should be")
    with pytest.raises(SensoriumError, match="cannot be stored"):
        fetch(hub)
