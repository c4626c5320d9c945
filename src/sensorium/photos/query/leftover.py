"""What is left of a sentence as a look: without the polite frame ("show me photos of") and loose ends."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.photos.query.tokens import Token
from sensorium.photos.query.vocabulary import phrases, word_set

_REQUESTS = phrases("leftover: requests")
_WEAK_REQUESTS = word_set("leftover: weak requests")
"""These frame a photo word or a slot; before anything else they are part of the look."""

_PHOTOS = phrases("leftover: photos")
_OF = phrases("leftover: of")
_KEPT_OF = word_set("leftover: kept of")

_BEFORE_GAP = word_set("leftover: before gap")
"""Loose before a slot that was taken out."""

_AFTER_GAP = phrases("leftover: after gap")
_DANGLING = word_set("leftover: dangling")
"""Prepositions and articles that nothing follows any more."""

_FRAME_WORDS = word_set("leftover: frame words")
"""Words that alone are no look: "I was" of "I was in Rome"."""

_BEFORE_LEFT = frozenset(("的", "在", "'s", "of"))
_AFTER_LEFT = word_set("leftover: after left")
_MARKS = frozenset(",.;!?:，。；！？：、&-–—|~·/+*^…")


def frame(tokens: list[Token], taken: Sequence[bool]) -> list[bool]:
    """``taken`` with the frame of the sentence: requests at its head and the words for photos."""
    covered = list(taken)
    _cover_head(tokens, covered)
    for index in range(len(tokens)):
        if not covered[index]:
            _cover_photos(tokens, covered, index)
    return covered


def _cover_head(tokens: list[Token], covered: list[bool]) -> None:
    index = 0
    while index < len(tokens):
        if covered[index] or tokens[index].key in _MARKS:
            index += 1
            continue
        request = _REQUESTS.at(tokens, index)
        if request is None or any(covered[index : request[1]]):
            return
        end = request[1]
        if _key(tokens[index:end]) in _WEAK_REQUESTS and not _frames(tokens, covered, end):
            return
        _cover(covered, index, end)
        index = end


def _frames(tokens: list[Token], covered: list[bool], index: int) -> bool:
    """Whether a photo word, a slot or another request follows."""
    if index >= len(tokens) or covered[index]:
        return True
    return _PHOTOS.at(tokens, index) is not None


def _cover_photos(tokens: list[Token], covered: list[bool], index: int) -> None:
    """Take out words for photos where they frame the look: before "of", before a slot, at either end."""
    photos = _PHOTOS.at(tokens, index)
    if photos is None or any(covered[index : photos[1]]):
        return
    end = photos[1]
    first = all(covered[:index]) or (all(covered[: index - 1]) and tokens[index - 1].kind == "number")
    last = all(covered[behind] or tokens[behind].key in _MARKS for behind in range(end, len(tokens)))
    slot_follows = end < len(tokens) and (covered[end] or tokens[end].key in _MARKS)
    of = _OF.at(tokens, end)
    before = tokens[index - 1] if index and not covered[index - 1] else None
    if not (last or slot_follows or (first and of is not None)):
        return
    if before is not None:
        # 老照片 are old, "a wall of pictures" is a wall.
        joined = tokens[index].kind == "han" and before.key != "的" and before.end == tokens[index].start
        if joined or (last and before.key in ("of", "with", "a")):
            return
    start = index
    if (index and tokens[index - 1].key == "的") or (first and index and tokens[index - 1].kind == "number"):
        start -= 1
    _cover(covered, start, end)
    cover_of(tokens, covered, end)


def cover_of(tokens: list[Token], covered: list[bool], index: int) -> None:
    """Cover what leads from a word for pictures to their look: "screenshot of a map"."""
    of = _OF.at(tokens, index)
    if of is not None and _key(tokens[index : of[1]]) not in _KEPT_OF and not any(covered[index : of[1]]):
        _cover(covered, index, of[1])


def loosen(tokens: list[Token], covered: list[bool], slots: Sequence[bool]) -> None:
    """Cover prepositions, articles and particles that only led to a slot which was taken out."""
    for index in range(len(tokens)):
        begins = slots[index] and (index == 0 or not slots[index - 1])
        ends = slots[index] and (index + 1 == len(tokens) or not slots[index + 1])
        back = index - 1
        while begins and back >= 0 and (covered[back] or tokens[back].key in _BEFORE_GAP):
            covered[back] = True
            back -= 1
        ahead = index + 1
        while ends and ahead < len(tokens):
            loose = _AFTER_GAP.at(tokens, ahead)
            if loose is None or any(covered[ahead : loose[1]]):
                break
            _cover(covered, ahead, loose[1])
            ahead = loose[1]


def text_of(sentence: str, tokens: list[Token], covered: Sequence[bool]) -> str:
    """The uncovered words, untouched and in their order; marks and particles at the ends are dropped."""
    left = [index for index in range(len(tokens)) if not covered[index]]
    while left and (tokens[left[0]].key in _MARKS or tokens[left[0]].key in _BEFORE_LEFT):
        left.pop(0)
    while left and (
        tokens[left[-1]].key in _MARKS
        or (tokens[left[-1]].key in _AFTER_LEFT and tokens[left[-1]].kind == "han")
    ):
        left.pop()
    while left and tokens[left[-1]].key in _DANGLING and not _sticks(tokens, left):
        left.pop()
    if all(tokens[index].key in _FRAME_WORDS for index in left):
        return ""
    pieces: list[str] = []
    for position, index in enumerate(left):
        token = tokens[index]
        if position:
            previous = left[position - 1]
            apart = index != previous + 1 or token.start > tokens[previous].end
            pieces.append(" " if apart else "")
        pieces.append(token.text[1:-1] if token.kind == "quote" else token.text)
    return " ".join("".join(pieces).split())


def _sticks(tokens: list[Token], left: Sequence[int]) -> bool:
    """Whether the last word is a capital right behind a Chinese character: the A of 京A is no article."""
    if len(left) < 2 or left[-2] != left[-1] - 1:
        return False
    before, last = tokens[left[-2]], tokens[left[-1]]
    return before.kind == "han" and before.end == last.start and last.text.isupper()


def _cover(covered: list[bool], start: int, end: int) -> None:
    covered[start:end] = [True] * (end - start)


def _key(tokens: list[Token]) -> str:
    joint = "" if tokens and tokens[0].kind == "han" else " "
    return joint.join(token.key for token in tokens)
