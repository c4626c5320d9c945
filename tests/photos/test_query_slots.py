"""Places, people, kinds and cameras in a sentence, what it excludes, and which meaning of a word counts."""

from datetime import datetime

import pytest

from sensorium.photos.query import Exclusion, Times, parse

NOW = datetime.fromisoformat("2026-05-13T12:00:00+08:00")


def split(sentence, **known):
    return parse(sentence, now=NOW, **known)


@pytest.mark.parametrize(
    ("sentence", "places", "text"),
    [
        ("hot air balloons in Turkey", ("Turkey",), "hot air balloons"),
        ("turkey 2019", ("Turkey",), ""),
        ("turkey sandwich", (), "turkey sandwich"),
        ("Turkey on the table", (), "Turkey on the table"),
        ("in china last year", ("China",), ""),
        ("china vase", (), "china vase"),
        ("paris 2024", ("Paris",), ""),
        ("long beach", (), "long beach"),
        ("mount fuji", (), "mount fuji"),
        ("cologne bottle", (), "cologne bottle"),
        ("the cathedral in Cologne", ("Cologne",), "the cathedral"),
        ("a book about reading", (), "a book about reading"),
        ("bridge in Reading", ("Reading",), "bridge"),
        ("a nice day", (), "a nice day"),
        ("beach in Nice", ("Nice",), "beach"),
        ("woman in orange", (), "woman in orange"),
        ("baby in the bath", (), "baby in the bath"),
        ("buffalo in a field", (), "buffalo in a field"),
        ("chili peppers", (), "chili peppers"),
        ("desert in chile", ("Chile",), "desert"),
        ("polish sausage", (), "polish sausage"),
        ("new york pizza", (), "new york pizza"),
        ("taxi in new york", ("New York",), "taxi"),
        ("french fries and swiss cheese", (), "french fries and swiss cheese"),
        ("a long beach", (), "a long beach"),
        ("tokyo tower", ("Tokyo",), "tokyo tower"),
        ("Kyoto, Japan", ("Kyoto",), ""),
        ("日本京都的寺庙", ("京都",), "寺庙"),
        ("京都或大阪", ("京都", "大阪"), ""),
        ("大理石地板", (), "大理石地板"),
        ("校长春天的照片", (), "校长"),
        ("长春天气", ("长春",), "天气"),
        ("北京烤鸭", (), "北京烤鸭"),
        ("在北京吃烤鸭", ("北京",), "吃烤鸭"),
        ("北京大学", ("北京",), "北京大学"),
        ("南京路", (), "南京路"),
    ],
)
def test_a_name_is_a_place_only_where_it_is_meant(sentence, places, text):
    query = split(sentence)
    assert (query.places, query.text) == (places, text)


def test_two_places_of_one_name_are_told_apart_by_the_wider_one():
    assert split("Paris, Texas").places == ("Paris, Texas",)


@pytest.mark.parametrize(
    ("sentence", "people", "text"),
    [
        ("anna's birthday", ("Anna",), "birthday"),
        ("ANNA and Bob at the beach", ("Anna", "Bob Miller"), "at the beach"),
        ("bob miller's dog", ("Bob Miller",), "dog"),
        ("dinner with Rose", ("Rose",), "dinner"),
        ("rose at the beach", ("Rose",), "at the beach"),
        ("a red rose", (), "a red rose"),
        ("photos where it will rain", (), "where it will rain"),
        ("hannah", (), "hannah"),
        ("小明和国庆", ("小明", "国庆"), ""),
        ("国庆在爬山", ("国庆",), "爬山"),
    ],
)
def test_known_people_are_found_in_any_case(sentence, people, text):
    known = ["Anna", "Bob Miller", "Rose", "Will", "小明", "国庆"]
    query = split(sentence, people=known)
    assert (query.people, query.text) == (people, text)


def test_a_name_beside_a_time_is_the_time():
    known = ["May", "国庆"]
    assert split("in may", people=known).months == (5,)
    assert split("May 2018 with May", people=known).people == ("May",)
    assert str(split("2023年国庆", people=known).after) == "2023-10-01"
    assert str(split("国庆节", people=known).after) == "2025-10-01"


def test_a_known_name_that_is_a_mere_word_is_told():
    (reading,) = split("a red rose", people=["Rose"]).readings
    assert (reading.words, reading.meaning, reading.alternatives) == (
        "rose",
        "the word",
        ("the person Rose",),
    )


def test_a_given_name_that_two_people_share_is_no_name():
    assert split("Anna in the snow", people=["Anna Lee", "Anna Schmidt"]).people == ()
    assert split("Anna in the snow", people=["Anna Lee", "Bob"]).people == ("Anna Lee",)


@pytest.mark.parametrize(
    ("sentence", "camera", "text"),
    [
        ("shot on iPhone 12 in the rain", "Apple iPhone 12", "in the rain"),
        ("iphone 12 photos", "Apple iPhone 12", ""),
        ("taken with my canon", "Canon", ""),
        ("Canon EOS R5", "Canon EOS R5", ""),
        ("a man holding a nikon", None, "a man holding a nikon"),
        ("canon in front of a castle", None, "canon in front of a castle"),
        ("用佳能拍的花", "Canon", "花"),
        ("华为手机拍的照片", "Huawei", ""),
        ("用苹果拍的苹果", "Apple", "苹果"),
        ("红苹果", None, "红苹果"),
        ("小米粥", None, "小米粥"),
    ],
)
def test_a_camera_is_the_one_that_took_the_photo(sentence, camera, text):
    query = split(sentence, cameras=["Apple iPhone 12", "Canon EOS R5"])
    assert (query.camera, query.text) == (camera, text)


@pytest.mark.parametrize(
    ("sentence", "media", "text"),
    [
        ("video of my cat", "video", "my cat"),
        ("video game", None, "video game"),
        ("screenshots", "screenshot", ""),
        ("手机截图", "screenshot", ""),
        ("panorama of the alps", "panorama", "the alps"),
        ("全景天窗", None, "全景天窗"),
        ("狗的动图", "animation", "狗"),
        ("raw fish", None, "raw fish"),
        ("RAW of a bird", "raw", "a bird"),
        ("live photos", "live", ""),
        ("live concert", None, "live concert"),
        ("实况照片", "live", ""),
        ("a selfie", None, "a selfie"),
    ],
)
def test_the_kind_of_picture(sentence, media, text):
    query = split(sentence)
    assert (query.media, query.text) == (media, text)


@pytest.mark.parametrize(
    ("sentence", "text", "exclude"),
    [
        ("beach without people", "beach", ("people",)),
        ("beach without any people or cars", "beach", ("people", "cars")),
        ("forest without people in the background", "forest", ("people",)),
        ("sunset without clouds at the sea", "sunset at the sea", ("clouds",)),
        ("dogs but not cats", "dogs", ("cats",)),
        ("no dogs", "", ("dogs",)),
        ("a cat, not a dog and not a bird", "a cat", ("dog", "bird")),
        ("a portrait, no black and white", "a portrait", ("black and white",)),
        ("beach with nobody", "beach", ("people",)),
        ("no smoking sign", "no smoking sign", ()),
        ("forget-me-not", "forget-me-not", ()),
        ("没有人的海滩", "海滩", ("人",)),
        ("没人的海滩", "海滩", ("人",)),
        ("海滩，不要人和狗", "海滩", ("人", "狗")),
        ("没有戴帽子的小孩", "小孩", ("戴帽子",)),
        ("除了猫以外的动物", "动物", ("猫",)),
        ("不要狗，只要猫", "猫", ("狗",)),
        ("有没有猫", "猫", ()),
        ("无人机", "无人机", ()),
        ("无锡", "", ()),
        ("别墅", "别墅", ()),
        ("特别的花", "特别的花", ()),
    ],
)
def test_what_is_not_wanted(sentence, text, exclude):
    query = split(sentence)
    assert (query.text, query.exclude) == (text, exclude)
    assert query.unwanted == exclude


@pytest.mark.parametrize(
    ("sentence", "exclusion"),
    [
        ("not in Japan", Exclusion("Japan", place="Japan")),
        ("除了北京", Exclusion("北京", place="北京")),
        ("without Anna", Exclusion("Anna", person="Anna")),
        ("no screenshots", Exclusion("screenshots", media="screenshot")),
        ("not shot on iPhone 12", Exclusion("iPhone 12", camera="iPhone 12")),
        (
            "not in 2019",
            Exclusion("2019", times=Times(*map(datetime.date, (datetime(2019, 1, 1), datetime(2020, 1, 1))))),
        ),
        ("not in winter", Exclusion("winter", times=Times(months=(12, 1, 2)))),
    ],
)
def test_slots_can_be_excluded(sentence, exclusion):
    query = split(sentence, people=["Anna"])
    assert query.excluded == (exclusion,)
    assert query.exclude == (exclusion.words,)
    assert query.unwanted == ()
    assert (query.text, query.places, query.people, query.media, query.camera) == ("", (), (), None, None)
    assert (query.after, query.before, query.months) == (None, None, ())


def test_times_of_a_sentence_are_taken_together():
    query = split("beach last year in may")
    assert (str(query.after), str(query.before), query.months) == ("2025-05-01", "2025-06-01", ())
    query = split("snow in winter since 2015")
    assert (str(query.after), query.before, query.months) == ("2015-01-01", None, (12, 1, 2))
    query = split("in 2015 at the lake yesterday")
    assert str(query.after) == "2015-01-01"
    assert any("no day in common" in reading.meaning for reading in query.readings)


def test_quotes_are_looks_word_for_word():
    query = split('"may flowers in Japan 2019" in april')
    assert (query.text, query.months, query.places) == ("may flowers in Japan 2019", (4,), ())


@pytest.mark.parametrize(
    ("sentence", "words", "meaning"),
    [
        ("may flowers", "may", "what it looks like"),
        ("photos from may", "from may", "the month May"),
        ("christmas tree", "christmas", "what it looks like"),
        ("turkey soup", "turkey", "what it looks like"),
        ("balloons in Turkey", "Turkey", "the place Turkey"),
        ("china cups", "china", "what it looks like"),
        ("五一去杭州", "五一", "the holiday of 1 May: 2026-05-01 to 2026-05-05"),
        ("05/06/2020", "05/06/2020", "2020-05-06"),
        ("over christmas", "over christmas", "the last one: 2025-12-24 to 2025-12-26"),
    ],
)
def test_how_ambiguous_words_were_understood_is_told(sentence, words, meaning):
    found = {reading.words: reading for reading in split(sentence).readings}
    assert found[words].meaning == meaning
    assert found[words].alternatives
