"""How is everything shown, and does it fit? Plans, counts, and refusals before any pixel is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import SensoriumError
from sensorium.media.resized import PictureSpec, carry_out
from sensorium.media.resizing.choosing import choose
from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.planning import plan as plan_of
from sensorium.skills.answer.eyes import Eyes, Kind, Native
from sensorium.skills.answer.shown import Film, Picture

FILM_TOKENS = 4096
"""Tokens that a film may take when nobody says: some minutes of reading for a small model on a CPU."""
_LEAST = 16  # tokens of a frame below which nothing can be recognised: then fewer frames are shown


@dataclass(frozen=True, eq=False)
class Item:
    """One thing as the network gets it: a picture, or the frames of a film that become tokens together."""

    name: str
    kind: Kind
    plan: ResizePlan
    pictures: tuple[Picture, ...]
    """One; of a film its frames."""
    seconds: float
    """Of a film, from one group of frames that become tokens together to the next; else 0."""
    tokens: int
    key: str
    """Identity of content and plan, for those who remember what was seen."""
    note: str
    """How a film was sampled."""

    def describe(self) -> str:
        """One line for people: what is shown how, and at which price."""
        frames = f"{len(self.pictures)} frames of " if self.kind == "video" else ""
        whole = "" if self.tokens == self.plan.tokens else f"; {self.tokens} tokens are read of it"
        return f"{self.name}: {frames}{self.plan.describe()}{whole}"

    def views(self, spec: PictureSpec) -> list[list[NDArray[np.uint8]]]:
        """The pixels of every frame's views.

        Raises:
            BadImageError: A picture cannot be decoded, named.
            SensoriumError: A header told another shape than the pixels have.
        """
        found = []
        for picture in self.pictures:
            image = picture.load()
            try:
                found.append(carry_out(image, self.plan, spec.resample, spec.fill))
            except ValueError:
                raise SensoriumError(
                    f"{picture.name}: its header says {picture.width} x {picture.height} pixels, it has "
                    f"{image.width} x {image.height}: save it again with another program"
                ) from None
        return found


def arrange(shown: Sequence[Picture | Film], eyes: Eyes, budget: int | None, words: int) -> list[list[Item]]:
    """For each thing shown, as what the network gets it: a film without tokens of its own as pictures.

    Args:
        shown: Pictures and films in order.
        eyes: The family's.
        budget: The most tokens of each; None: the checkpoint's own way.
        words: Tokens of everything else, which films leave room for.

    Raises:
        SensoriumError: Nothing of the model's fits into the budget.
    """
    pictures = [_picture(one, eyes, budget) for one in shown if isinstance(one, Picture)]
    films = sum(isinstance(one, Film) for one in shown)
    left = eyes.text.context_length - words - sum(item.tokens for item in pictures)
    room = max(1, min(budget or FILM_TOKENS, left // 2 // max(1, films)))
    places = (
        None if eyes.most_pictures is None else max(1, (eyes.most_pictures - len(pictures)) // max(1, films))
    )
    remaining = iter(pictures)
    return [
        [next(remaining)] if isinstance(one, Picture) else _film(one, eyes, room, places) for one in shown
    ]


def _picture(picture: Picture, eyes: Eyes, budget: int | None) -> Item:
    plan = _planned(picture, eyes.spec, eyes, budget)
    return Item(
        picture.name, "image", plan, (picture,), 0.0, eyes.tokens(plan, 1), _key([picture], plan, eyes), ""
    )


def _planned(picture: Picture, spec: PictureSpec, eyes: Eyes, budget: int | None) -> ResizePlan:
    plan = plan_of(picture.width, picture.height, spec.policy)
    if budget is None:
        return replace(plan, reason="the model's own way")
    if eyes.tokens(plan, 1) <= budget:
        return replace(plan, reason=f"the model's own way, within {budget} tokens")
    try:
        chosen = choose(picture.width, picture.height, budget, [spec.policy])
    except SensoriumError as error:
        raise SensoriumError(f"{picture.name}: {error}") from error
    if eyes.tokens(chosen, 1) > budget:
        raise SensoriumError(
            f"{picture.name}: this model gives every picture {eyes.tokens(chosen, 1)} tokens, more than the "
            f"{budget} asked for: allow that many, or leave the limit away"
        )
    return chosen


def _film(film: Film, eyes: Eyes, room: int, places: int | None) -> list[Item]:
    if isinstance(eyes, Native):
        return [_whole_film(film, eyes, room)]
    each = eyes.tokens(_planned(film.frames[0], eyes.spec, eyes, None), 1)
    count = max(1, min(room // each, places or len(film.frames)))
    thin = film.thinned(count)
    items = [_picture(frame, eyes, None) for frame in thin.frames]
    return [replace(items[0], note=thin.describe()), *items[1:]]


def _whole_film(film: Film, eyes: Native, room: int) -> Item:
    spec = eyes.films
    group = spec.frames_in_patch
    groups = max(1, room // _LEAST)
    thin = film.thinned(max(1, min(spec.count(film.duration, len(film.frames)), groups * group)))
    count = len(thin.frames)
    each = max(1, room // -(-count // group))
    plan = _planned(thin.frames[0], spec.shown(count), eyes, each)
    note = thin.describe()
    # a second takes positions of the context, and so a long film more than it has tokens
    span = eyes.config.tokens_per_second * film.duration
    shorter = max(1.0, span / room)
    if shorter > 1 and span > eyes.text.context_length // 4:
        note += f"; its moments are told as if they were {shorter:.1f} times closer, to fit the context"
    else:
        shorter = 1.0
    seconds = film.duration / count * group / shorter
    key = _key(thin.frames, plan, eyes)
    tokens = eyes.tokens(plan, count)
    return Item(film.name, "video", plan, thin.frames, seconds, tokens, key, note)


def _key(pictures: Sequence[Picture], plan: ResizePlan, eyes: Eyes) -> str:
    content = " ".join(picture.key for picture in pictures)
    geometry = f"{plan.sheets} {plan.views} {plan.blocks} {eyes.spec}"
    return hashlib.sha256(f"{content} {geometry}".encode()).hexdigest()[:32]


def notes_of(items: Sequence[Item]) -> list[str]:
    """What people should know of how something is shown: sampled films, parts that are not shown at all."""
    notes = [item.note for item in items if item.note]
    for item in items:
        if item.plan.detail[0] == 0:
            notes.append(f"{item.name}: not all of it is shown: this model sees its middle square")
    return notes


def refuse_too_many(name: str, eyes: Eyes, items: Sequence[Item], *, words: int, places: int) -> None:
    """Refuse more than the network takes; nothing is ever cut.

    Args:
        name: The model's.
        eyes: The family's.
        items: Everything that is shown.
        words: Tokens of everything else.
        places: What the whole prompt takes of the context.

    Raises:
        SensoriumError: Says by how much, how many pictures fit, and what to change.
    """
    if eyes.most_pictures is not None and len(items) > eyes.most_pictures:
        most = eyes.most_pictures
        raise SensoriumError(
            f"{name} sees at most {most} picture{'s' if most > 1 else ''} at once, not {len(items)}: "
            "ask about fewer, or name another model"
        )
    excess = places + 1 - eyes.text.context_length  # one place for an answer
    if excess <= 0:
        return
    start = (
        f"the conversation takes {places + 1} places of a context of {eyes.text.context_length}, "
        f"{excess} too many"
    )
    if words + 1 > eyes.text.context_length:  # without any picture, too
        raise SensoriumError(f"{start}: shorten the words or begin a new conversation")
    taken, fits = words + 1, 0
    for item in items:
        taken += item.tokens
        if taken > eyes.text.context_length:
            break
        fits += 1
    things = f"{len(items)} pictures" if len(items) > 1 else "the picture"
    each = sum(item.tokens for item in items)
    raise SensoriumError(
        f"{start}: {things} take{'s' if len(items) == 1 else ''} {each} of them, and {fits} would fit: "
        "show fewer, give each fewer tokens (--tokens), shorten the words or begin a new conversation"
    )
