"""File names of any bytes, everywhere they go."""

import json
import os
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from sensorium.photos.database.schema import FileName
from sensorium.photos.files.names import inside, link, parent, printable, relative_to

names = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
engine = sa.create_engine("sqlite://")
table = sa.Table("names", sa.MetaData(), sa.Column("name", FileName))
table.create(engine)


@given(names)
def test_the_database_and_json_give_any_name_back(name):
    with engine.begin() as connection:
        connection.execute(sa.delete(table))
        connection.execute(sa.insert(table).values(name=name))
        assert connection.execute(sa.select(table.c.name)).scalar_one() == name
        assert connection.execute(sa.select(table).where(table.c.name == name)).one()
    assert os.fsencode(json.loads(json.dumps(name))) == os.fsencode(name)


@given(names)
def test_any_name_prints_on_one_line(name):
    shown = printable(name)
    assert shown.isprintable()
    assert shown.encode("utf-8")
    if name.isprintable() and name.isascii():
        assert shown == name


@given(names)
def test_a_link_holds_the_exact_bytes(name):
    address = link("/" + name)
    assert address.isascii()
    assert unquote_to_bytes(address.removeprefix("file://")) == b"/" + os.fsencode(name)


def test_odd_characters_are_escaped():
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert printable("猫 café") == "猫 café"


def test_paths_below_a_root():
    assert relative_to("/a/b/c", "/a") == "b/c"
    assert relative_to("/a", "/a") == ""
    assert relative_to("/ab/c", "/a") is None
    assert relative_to("/x", "/") == "x"
    assert parent("a/b/c.jpg") == "a/b"
    assert parent("c.jpg") == ""
    assert inside("a/b/c", "a/b")
    assert inside("a/b", "")
    assert not inside("a/bc", "a/b")
