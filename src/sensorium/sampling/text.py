"""Tokens to text while they come: no half character, no half stop string is ever shown."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.media.vocabulary import Vocabulary

_INCOMPLETE = "�"  # what bytes decode to that make no character, or not yet


class Detokenizer:
    """Token ids to pieces of text whose sum is the text of all ids, whatever the tokens' borders.

    A token's text depends on the tokens before it (leading spaces, characters of several bytes), so a few of
    them are decoded again with it and what they gave before is taken off.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: list[int] = []  # from the start of the last piece on
        self._shown = 0  # how many of them make up that piece

    def feed(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        self._ids.append(token)
        piece = self._rest()
        if not piece or piece.endswith(_INCOMPLETE):
            return ""
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return piece

    def flush(self) -> str:
        """What is left at the end: bytes of a character that was never completed, as U+FFFD."""
        piece = self._rest()
        self._ids, self._shown = [], 0
        return piece

    def _rest(self) -> str:
        before = self._vocabulary.decode(self._ids[: self._shown])
        return self._vocabulary.decode(self._ids)[len(before) :]


class StopStrings:
    """Text up to the first stop string, which may lie across any number of pieces.

    The end that comes first counts; of several stops that end there, the longest. The stop itself is not
    shown, and text that may become one is held back, so what is shown never depends on where pieces end.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ValueError for an empty stop string, which would stop everything."""
        if not all(stops):
            raise ValueError("a stop string is empty")
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """What may be shown now. After a stop was met, `stopped` is true and nothing more is."""
        if self.stopped:
            return ""
        text, self._held = self._held + piece, ""
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if found:
            self.stopped = True
            return text[: min(found)[1]]  # the first end, and of those the first start
        held = self._beginning(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back for a stop that never came."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _beginning(self, text: str) -> int:
        """How many last characters of ``text`` begin some stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for count in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-count:]) for stop in self._stops):
                return count
        return 0
