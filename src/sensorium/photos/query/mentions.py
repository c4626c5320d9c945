"""A slot that some tokens of a sentence fill, and the names of people, cameras and kinds among them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sensorium.photos.query import lexicon
from sensorium.photos.query.model import Media, Reading, Times
from sensorium.photos.query.tokens import Phrases, Token, tokenize
from sensorium.photos.query.vocabulary import phrases, word_set

Slot = Literal["time", "place", "person", "media", "camera"]


@dataclass(frozen=True, slots=True)
class Mention:
    """Tokens ``start`` until ``end`` that tell a time, a place, a person, a kind of picture or a camera.

    ``value`` is that in words; ``times`` the days of a time. ``visible`` words describe the look as well
    and stay in the text ("Tokyo Tower" is in Tokyo, and a tower).
    """

    start: int
    end: int
    slot: Slot
    value: str
    times: Times | None = None
    reading: Reading | None = None
    visible: bool = False


# People.

_NAME_WORDS = word_set("mentions: name words")
"""First names that are English words or places as well."""

_TIME_CUES = word_set("mentions: time cues")
_NOUN_CUES = word_set("mentions: noun cues")
_TAILS = word_set("mentions: tails")


def people_in(tokens: list[Token], people: Sequence[str]) -> tuple[list[Mention], list[Reading]]:
    """The people of a library who are named, and the names that are mere words here.

    Somebody is named by the whole name, or by a given name that nobody else has.
    """
    names = _people(tuple(people))
    mentions: list[Mention] = []
    words: list[Reading] = []
    index = 0
    while index < len(tokens):
        found = names.at(tokens, index)
        if found is None:
            index += 1
            continue
        name, end = found
        said = "".join(token.text for token in tokens[index:end])
        if not _is_person(tokens, index, end):
            words.append(Reading(said, "the word", (f"the person {name}",)))
            index += 1
            continue
        possessive = end < len(tokens) and tokens[end].key in ("'s", "'")
        doubtful = _doubtful(tokens[index:end])
        reading = Reading(said, f"the person {name}", ("the word",)) if doubtful else None
        mentions.append(Mention(index, end + possessive, "person", name, reading=reading))
        index = end + possessive
    return mentions, words


@functools.lru_cache(maxsize=4)
def _people(people: tuple[str, ...]) -> Phrases[str]:
    """Every way to say the names of people, and whom it means."""
    whole = [(name, name) for name in people if any(token.kind != "mark" for token in tokenize(name))]
    given: dict[str, list[str]] = {}
    for name, _ in whole:
        parts = name.split()
        if len(parts) > 1 and len(parts[0]) >= 3 and parts[0].casefold() not in _NAME_WORDS:
            given.setdefault(parts[0].casefold(), []).append(name)
    return Phrases([(first, names[0]) for first, names in given.items() if len(names) == 1] + whole)


def _doubtful(tokens: list[Token]) -> bool:
    key = "".join(token.key for token in tokens)
    return key in _NAME_WORDS or key in lexicon.AMBIGUOUS or lexicon.FEASTS.at(tokens, 0) is not None


def _is_person(tokens: list[Token], start: int, end: int) -> bool:
    """Whether a known name is meant as one: "May at the beach" is, "in May" and "a rose" are not."""
    if tokens[start].kind == "han":
        behind = lexicon.FEAST_TAILS.at(tokens, end) or (end < len(tokens) and tokens[end].key == "节")
        ahead = lexicon.YEARS.ending(tokens, start) is not None or (
            start > 0 and tokens[start - 1].key == "年"
        )
        return end - start > 1 and not (_doubtful(tokens[start:end]) and (behind or ahead))
    if not _doubtful(tokens[start:end]):
        return True
    before = tokens[start - 1].key if start else ""
    behind_token = tokens[end] if end < len(tokens) else None
    if before in _TIME_CUES or (behind_token is not None and behind_token.kind == "number"):
        return False
    if tokens[start].capital:
        return before not in ("a", "an", "the")
    follows = behind_token is None or behind_token.key in _TAILS or behind_token.key.endswith("ing")
    return follows and (start == 0 or before in ("and", "with", "of", "&")) and before not in _NOUN_CUES


# Kinds of picture.

_MEDIA = cast("Phrases[Media]", phrases("mentions: media"))
_NO_MEDIA = phrases("mentions: no media")


def media_in(tokens: list[Token]) -> list[Mention]:
    """The kinds of picture that are asked for."""
    mentions: list[Mention] = []
    for index in range(len(tokens)):
        found = _MEDIA.at(tokens, index)
        if found is None and tokens[index].text == "RAW" and tokens[index].kind == "word":
            found = ("raw", index + 1)
        if found is None or _NO_MEDIA.at(tokens, index) or (mentions and mentions[-1].end > index):
            continue
        mentions.append(Mention(index, found[1], "media", found[0]))
    return mentions


# Cameras.

_MAKES = phrases("mentions: makes")
_MODEL_WORDS = word_set("mentions: model words")
_AHEAD = phrases("mentions: ahead")
_WEAK_AHEAD = word_set("mentions: weak ahead")
_TAKEN = frozenset(("took", "taken", "shot", "captured"))
_DEVICE = phrases("mentions: device")
_BEHIND = phrases("mentions: behind")


def cameras_in(tokens: list[Token], cameras: Sequence[str]) -> list[Mention]:
    """The camera that took the photo, as far as the sentence says so: "shot on", "iPhone photos", 用...拍的.

    A make without such a hint is a thing in the picture.
    """
    known = _cameras(tuple(cameras))
    mentions: list[Mention] = []
    for index in range(len(tokens)):
        camera = known.at(tokens, index)
        told = camera is not None
        if camera is None:
            camera = _model(tokens, index)
        if camera is None or (mentions and mentions[-1].end > index):
            continue
        found = _as_camera(tokens, index, *camera, known=told)
        if found is not None:
            mentions.append(found)
    return mentions


@functools.lru_cache(maxsize=4)
def _cameras(cameras: tuple[str, ...]) -> Phrases[str]:
    """Every way to say the cameras of a library, and which it means."""
    names = []
    for camera in cameras:
        rest = camera.split(maxsplit=1)
        # "iPhone 12" for "Apple iPhone 12"; a model that is a mere number would be found everywhere.
        if len(rest) == 2 and rest[1].strip()[:1].isalpha() and len(rest[1]) > 3:
            names.append((rest[1], camera))
    whole = [camera for camera in cameras if any(token.kind != "mark" for token in tokenize(camera))]
    return Phrases(names + [(camera, camera) for camera in whole])


def _model(tokens: list[Token], index: int) -> tuple[str, int] | None:
    """A make, and the words of a model behind it."""
    make = _MAKES.at(tokens, index)
    if make is None:
        return None
    name, end = make
    words = [name]
    while end < len(tokens) and end - make[1] < 4 and _is_model(tokens[end]):
        words.append(tokens[end].text)
        end += 1
    return " ".join(words), end


def _is_model(token: Token) -> bool:
    if token.kind == "number":
        return len(token.key) < 4
    return token.kind == "word" and (token.key in _MODEL_WORDS or any(sign.isdecimal() for sign in token.key))


def _as_camera(tokens: list[Token], start: int, name: str, end: int, *, known: bool) -> Mention | None:
    device = _DEVICE.at(tokens, end)
    end = device[1] if device else end
    behind = _BEHIND.at(tokens, end)
    ahead = _AHEAD.ending(tokens, start)
    cue = " ".join(token.key for token in tokens[ahead:start]) if ahead is not None else ""
    if cue in _WEAK_AHEAD:
        # "photos I took with my Canon", but "a cat with my Canon".
        told = {token.key for token in tokens[:start]} & (lexicon.PHOTO_NOUNS | _TAKEN)
        weak = not told or end < len(tokens)
    else:
        weak = len(cue) == 1 and behind is None and not known
    photos = end < len(tokens) and tokens[end].key in lexicon.PHOTO_NOUNS
    photos = photos or lexicon.CHINESE_PHOTOS.at(tokens, end) is not None
    alone = known and start == 0 and end == len(tokens)
    if not (behind or photos or alone or (ahead is not None and not weak)):
        return None
    return Mention(start if ahead is None else ahead, behind[1] if behind else end, "camera", name)
