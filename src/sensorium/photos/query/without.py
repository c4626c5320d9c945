"""What a sentence does not want: the words that say so, and how far they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sensorium.photos.query import lexicon
from sensorium.photos.query.mentions import Mention
from sensorium.photos.query.model import Exclusion
from sensorium.photos.query.tokens import Token
from sensorium.photos.query.vocabulary import phrases, word_set

_CUES = phrases("without: cues")
_LOOKS = phrases("without: looks")
"""Compounds that only look like a NOT: a no-smoking sign, 有没有 (are there any)."""

_NOBODY = phrases("without: nobody")
"""Not and what is unwanted in one: 没人的海滩. Not before 机: a 无人机 is a drone."""

_NO_NOBODY = phrases("without: no nobody")

_STOPS = frozenset(",.;!?:，。；！？：()（）")
_JOINTS = word_set("without: joints")
_PREPOSITIONS = word_set("without: prepositions")
_PAIRS = phrases("without: pairs")
"""Things with an "and" inside them."""

_BREAKS = word_set("without: breaks")
_BACKGROUND = phrases("without: background")
"""Where in the photo the unwanted is: everywhere anyway."""

_ARTICLES = word_set("without: articles")
_TAILS = phrases("without: tails")


@dataclass(frozen=True, slots=True)
class Unwanted:
    """What a NOT covers: tokens ``start`` until ``end``, and each thing that it excludes."""

    start: int
    end: int
    words: tuple[str, ...]
    exclusions: tuple[Exclusion, ...]


def is_not_look(tokens: list[Token], index: int) -> int | None:
    """The index behind a compound that only looks like a NOT, or None."""
    found = _LOOKS.at(tokens, index) or _NO_NOBODY.at(tokens, index)
    return found[1] if found else None


def unwanted_in(tokens: list[Token], mentions: Sequence[Mention], taken: Sequence[bool]) -> list[Unwanted]:
    """Every NOT of a sentence. ``taken`` tokens (quotes, numbers of a date) hold no NOT."""
    starting = {mention.start: mention for mention in mentions}
    found = []
    index = 0
    while index < len(tokens):
        compound = is_not_look(tokens, index)
        nobody = _NOBODY.at(tokens, index)
        cue = _CUES.at(tokens, index)
        if compound is not None:
            index = compound
        elif nobody is not None and not taken[index]:
            end = _skip_tail(tokens, nobody[1])
            found.append(Unwanted(index, end, (nobody[0],), ()))
            index = end
        elif cue is not None and not taken[index]:
            scope = _scope(tokens, index, cue[1], starting)
            found.append(scope)
            index = max(scope.end, index + 1)
        else:
            index += 1
    return [unwanted for unwanted in found if unwanted.words]


def _scope(tokens: list[Token], start: int, index: int, starting: dict[int, Mention]) -> Unwanted:
    """What a NOT reaches: things joined by "and" and "or", until a stop, a preposition or another slot."""
    words: list[str] = []
    exclusions: list[Exclusion] = []
    end = index
    while index < len(tokens):
        index = _skip_articles(tokens, index, starting)
        mention = starting.get(index)
        if mention is not None:
            exclusion = exclusion_of(mention, tokens)
            words.append(exclusion.words)
            exclusions.append(exclusion)
            index = mention.end
        else:
            first = index
            index = _look_end(tokens, index, starting)
            if index == first:
                break
            words.append(_text(tokens[first:index]))
        end = index
        if index < len(tokens) and tokens[index].key in _JOINTS:
            again = _CUES.at(tokens, index + 1)
            index = again[1] if again else index + 1
            continue
        break
    return Unwanted(start, _skip_tail(tokens, end), tuple(dict.fromkeys(words)), tuple(exclusions))


def exclusion_of(mention: Mention, tokens: list[Token]) -> Exclusion:
    """A slot that is not wanted, under the words that said it."""
    said = _text(tokens[mention.start : mention.end])
    if mention.slot == "place":
        return Exclusion(mention.value, place=mention.value)
    if mention.slot == "person":
        return Exclusion(mention.value, person=mention.value)
    if mention.slot == "media":
        # The mention holds one of the kinds: it was made from their table.
        return Exclusion(said, media=mention.value)  # type: ignore[arg-type]
    if mention.slot == "camera":
        return Exclusion(mention.value, camera=mention.value)
    return Exclusion(_without_introduction(tokens, mention), times=mention.times)


def _without_introduction(tokens: list[Token], mention: Mention) -> str:
    introduction = lexicon.INTRODUCTIONS.at(tokens, mention.start)
    start = introduction[1] if introduction and introduction[1] < mention.end else mention.start
    return _text(tokens[start : mention.end])


def _skip_articles(tokens: list[Token], index: int, starting: dict[int, Mention]) -> int:
    while index < len(tokens) and index not in starting and tokens[index].key in _ARTICLES | {":", "："}:
        index += 1
    return index


def _look_end(tokens: list[Token], index: int, starting: dict[int, Mention]) -> int:
    """Where unwanted words without a slot end."""
    first = index
    pair = _PAIRS.at(tokens, index)
    index = pair[1] if pair else index
    while index < len(tokens) and index not in starting:
        token = tokens[index]
        key = token.key
        apart = token.kind == "han" and index > first and token.start > tokens[index - 1].end
        if key in _STOPS or key in _JOINTS or key in _PREPOSITIONS or key in _BREAKS or apart:
            break
        if key == "的" or (token.kind == "han" and _TAILS.at(tokens, index) and tokens[index].key != "外"):
            break
        if index > first and _CUES.at(tokens, index) and is_not_look(tokens, index) is None:
            break
        index += 1
    return index


def _skip_tail(tokens: list[Token], index: int) -> int:
    background = _BACKGROUND.at(tokens, index)
    if background is not None:
        return background[1]
    tail = _TAILS.at(tokens, index)
    return tail[1] if tail is not None else index


def _text(tokens: list[Token]) -> str:
    """The words of tokens, as far apart as they were said."""
    pieces = [tokens[0].text] if tokens else []
    for previous, token in pairwise(tokens):
        pieces.append((" " if token.start > previous.end else "") + token.text)
    return "".join(pieces)
