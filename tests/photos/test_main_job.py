"""The main job from end to end: real photos, the embedded model, the command line, no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"

pytestmark = pytest.mark.slow  # the first use of a model measures and compiles its graphs


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def sensorium(home: Path, *arguments: str | Path) -> tuple[int, dict, str]:
    """Exit code, JSON document and imported heavy modules of one cold process."""
    program = (
        "import sys\n"
        "from sensorium.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = [name for name in ('torch', 'alembic', 'faiss') if name in sys.modules]\n"
        "    print(heavy, file=sys.stderr)\n"
    )
    environment = {**os.environ, "SENSORIUM_HOME": str(home), "SENSORIUM_OFFLINE": "1"}
    environment.pop("SENSORIUM_LIBRARY", None)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def indexed(home) -> dict:
    code, document, _ = sensorium(home, "index", PHOTOS)
    assert code == 0
    return document


def test_every_example_is_taken_once(home, indexed):
    assert (indexed["new"], indexed["encoded"], indexed["failed"]) == (26, 26, [])
    code, again, imported = sensorium(home, "index", PHOTOS)
    assert (code, again["encoded"], again["unchanged"]) == (0, 0, 26)
    assert "torch" not in imported
    _, told, _ = sensorium(home, "status")
    assert (told["photos"], told["embedded"], told["offline"], told["failed"]) == (26, 26, 0, [])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("dogs", {"IMG_0002.jpg"}),
        ("a bee on a flower", {"IMG_0008.jpg"}),
        ("sunset", {"IMG_0019.jpg", "IMG_0023.jpg"}),
        ("mountains", {"IMG_0001.jpg", "IMG_0012.jpg"}),
        ("猫", {"IMG_0013.png"}),
        ("桥", {"IMG_0006.heic", "IMG_0025.jpg"}),
        ("花", {"IMG_0018.jpg", "IMG_0008.jpg"}),
        ("日落", {"IMG_0019.jpg", "IMG_0023.jpg"}),
    ],
)
def test_words_find_photos_in_both_languages(home, indexed, words, names):
    code, document, imported = sensorium(home, "search", words, "-k", "5", "--all")
    assert code == 0
    assert names & {Path(hit["path"]).name for hit in document["hits"]}
    assert imported == "[]"


def test_similar_gives_others_and_not_itself(home, indexed):
    code, document, imported = sensorium(home, "similar", PHOTOS / "IMG_0019.jpg", "-k", "25")
    names = [Path(hit["path"]).name for hit in document["hits"]]
    assert (code, len(names), len(set(names))) == (0, 25, 25)
    assert "IMG_0019.jpg" not in names
    assert imported == "[]"
