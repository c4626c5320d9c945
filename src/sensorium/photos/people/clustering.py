"""Sorting faces into people: pure arithmetic on directions, with what hands have said as law.

Faces of *settled* people (named, or corrected by hand) stay where they are. All others are grouped by
likeness: faces that are nearly alike first, then those groups by the mean likeness of their members (average
linkage), so that no single doubtful pair joins two people. A group then joins the settled person whom it
resembles enough, and clearly more than the next one; what is left becomes people without a name, under the
ids that their faces had before as far as possible.

Laws: a face never goes to a person that it was said not to be; two faces of one photo are not one person;
settled faces never move. Whatever the order in which photos came, these hold.

Likeness is the cosine of SFace's directions. Its authors' threshold for two pictures of one person is 0.363
on Labeled Faces in the Wild; means over many pairs are told apart at that level, single pairs need more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
ALIKE = 0.65
"""Cosine from which two faces are one person's without further evidence."""

TOGETHER = 0.40
"""Mean cosine from which two groups are one person's."""

JOINS = 0.42
"""Mean cosine to a person from which a group of three or more joins; a single face needs `JOINS_ALONE`."""

JOINS_ALONE = 0.48
CLEARER = 0.05
"""How much more a group resembles the person that it joins than the next one."""

FEWEST = 3
"""Faces from which on a group is a person; fewer are passers-by."""

CLEAR_ENOUGH = 0.15
"""Quality from which on a face may found a person; worse ones only join."""

_MOST_COMPARED = 200  # faces of a person that others are compared with, the best ones
_NEAREST = 5  # of those count
_MOST_RATED = 8  # people that a group is compared with face by face
_MOST_GROUPS = 5000  # in one matrix of distances: 100 MB
_APART = 4.0  # distance of groups that cannot be one person; the largest of two directions is 2


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces to sort: row i of each array is one face.

    ``vectors`` float32 [n, d], unit length; ``photos`` and ``people`` int64 [n], the latter `NOBODY` where a
    face has no person; ``quality`` float32 [n]; ``settled`` bool [n]: it stays with its person.
    """

    vectors: NDArray[np.float32]
    photos: NDArray[np.int64]
    people: NDArray[np.int64]
    quality: NDArray[np.float32]
    settled: NDArray[np.bool_]
    refused: Mapping[int, Collection[int]] = field(default_factory=dict)
    """By row: the people that a face was said not to be."""


def sort_faces(faces: Faces) -> NDArray[np.int64]:
    """Whose each face is: ids of people, `NOBODY`, or numbers below it, one for each new person."""
    owners = np.where(faces.settled, faces.people, NOBODY)
    free = np.flatnonzero(~faces.settled)
    founders = free[faces.quality[free] >= CLEAR_ENOUGH]
    groups = [founders[members] for members in grouped(faces.vectors[founders], faces.photos[founders])]
    vague = [np.array([row]) for row in free[faces.quality[free] < CLEAR_ENOUGH]]
    people = _People(faces, owners)
    left = []
    for group in sorted(groups, key=len, reverse=True):
        rest = people.join(group)
        if len(rest) >= FEWEST:
            left.append(rest)
        else:
            vague += [np.array([row]) for row in rest]
    used = {int(person) for person in owners[owners >= 0]}
    fresh = NOBODY
    for group in left:
        person = _before(faces, group, used)
        if person is None:
            fresh -= 1
            person = fresh
        used.add(person)
        people.found(person, _allowed(faces, group, person))
    for single in vague:
        people.join(single)
    return owners


def grouped(vectors: NDArray[np.float32], photos: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Groups of rows of one person each, by likeness alone; each row is in one group, no photo twice in one.

    Args:
        vectors: float32 [n, d], unit length.
        photos: int64 [n].
    """
    groups = list(_tight(vectors, photos))
    if not groups:
        return []
    labels = _linked(np.stack([vectors[group].mean(axis=0) for group in groups]), groups, photos)
    joined: dict[int, list[NDArray[np.int64]]] = {}
    for group, label in zip(groups, labels, strict=True):
        joined.setdefault(int(label), []).append(group)
    return [
        part for parts in joined.values() for part in _once_a_photo(np.concatenate(parts), vectors, photos)
    ]


def _tight(vectors: NDArray[np.float32], photos: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Groups that hang together by pairs that are nearly alike."""
    from scipy.sparse.csgraph import connected_components
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    if not len(vectors):
        return
    with config_context(working_memory=64):
        search = NearestNeighbors(radius=1 - ALIKE, metric="cosine", algorithm="brute").fit(vectors)
        graph = search.radius_neighbors_graph()
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        yield from _once_a_photo(group, vectors, photos)


def _linked(
    means: NDArray[np.float32],
    groups: Sequence[NDArray[np.int64]],
    photos: NDArray[np.int64],
    at: float = TOGETHER,
) -> NDArray[np.int64]:
    """Labels [g] of groups by average linkage; ``means`` [g, d] are those of their faces, not of unit length.

    The product of two means is the mean cosine of all pairs. Too many groups for one matrix are first parted
    where no chain of likeness leads across, of pairs that are ever more alike.
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(groups) == 1:
        return np.zeros(1, np.int64)
    if len(groups) <= _MOST_GROUPS:
        distances = np.clip(1 - means @ means.T, 0, 2)
        for one, other in _sharing(groups, photos):
            distances[one, other] = distances[other, one] = _APART
        np.fill_diagonal(distances, 0)
        linkage = AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - TOGETHER
        )
        found: NDArray[np.int64] = linkage.fit_predict(distances).astype(np.int64)
        return found
    labels = np.full(len(groups), NOBODY)
    for part in _chained(means, at):
        inner = _linked(means[part], [groups[row] for row in part], photos, at + 0.05)
        labels[part] = inner + labels.max() + 1
    return labels


def _chained(means: NDArray[np.float32], at: float) -> list[NDArray[np.int64]]:
    """Rows that hang together by pairs of at least such a product; slices of bounded size at the end."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if at > 1:
        return np.array_split(np.arange(len(means)), -(-len(means) // _MOST_GROUPS))
    count = len(means)
    blocks = range(0, count, 512)
    shifts = [np.array((start, 0)) for start in blocks]
    edges = [np.argwhere(means[start : start + 512] @ means.T >= at) for start in blocks]
    pairs = np.concatenate([pair + shift for pair, shift in zip(edges, shifts, strict=True)])
    graph = csr_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _sharing(groups: Sequence[NDArray[np.int64]], photos: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of groups that have faces in one photo."""
    holders: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        for photo in photos[group].tolist():
            holders.setdefault(photo, []).append(number)
    for numbers in holders.values():
        for place, one in enumerate(numbers):
            for other in numbers[place + 1 :]:
                yield one, other


def _once_a_photo(
    group: NDArray[np.int64], vectors: NDArray[np.float32], photos: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """The group with the face of each photo that resembles it most; the others each alone."""
    if len(group) == 1 or len(np.unique(photos[group])) == len(group):
        return [group]
    likeness = vectors[group] @ vectors[group].mean(axis=0)
    order = group[np.lexsort((group, -likeness))]
    _, first = np.unique(photos[order], return_index=True)
    kept = np.zeros(len(order), bool)
    kept[first] = True
    return [np.sort(order[kept]), *(np.array([row]) for row in order[~kept])]


class _People:
    """The people that groups may join, as they grow."""

    def __init__(self, faces: Faces, owners: NDArray[np.int64]) -> None:
        self._faces = faces
        self._owners = owners
        self._looks: dict[int, NDArray[np.float32]] = {}
        self._centres: dict[int, NDArray[np.float32]] = {}
        self._photos: dict[int, set[int]] = {}
        order = np.argsort(owners, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(owners[order])) + 1):
            if len(rows) and owners[rows[0]] >= 0:
                self._enter(int(owners[rows[0]]), rows)

    def found(self, person: int, rows: NDArray[np.int64]) -> None:
        """Make a group a person."""
        self._owners[rows] = person
        self._enter(person, rows)

    def join(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give a group to the person whom it resembles; the rows that nobody takes."""
        rated = sorted(
            ((self._likeness(group, person), person) for person in self._near(group)), reverse=True
        )
        needed = JOINS if len(group) >= FEWEST else JOINS_ALONE
        if not rated or rated[0][0] < needed:
            return group
        if len(rated) > 1 and rated[0][0] - rated[1][0] < CLEARER:
            return group
        person = rated[0][1]
        allowed = _allowed(self._faces, group, person)
        new = allowed[~np.isin(self._faces.photos[allowed], list(self._photos[person]))]
        self._owners[new] = person
        self._photos[person].update(self._faces.photos[new].tolist())
        return group[~np.isin(group, new)]

    def _enter(self, person: int, rows: NDArray[np.int64]) -> None:
        best = rows[np.argsort(-self._faces.quality[rows], kind="stable")][:_MOST_COMPARED]
        self._looks[person] = self._faces.vectors[best]
        centre = self._looks[person].mean(axis=0)
        self._centres[person] = centre / max(float(np.linalg.norm(centre)), 1e-6)
        self._photos[person] = set(self._faces.photos[rows].tolist())

    def _near(self, group: NDArray[np.int64]) -> list[int]:
        """The people whose middle is nearest to a group's."""
        if len(self._centres) <= _MOST_RATED:
            return list(self._centres)
        people, centres = list(self._centres), np.stack(list(self._centres.values()))
        near = centres @ self._faces.vectors[group].mean(axis=0)
        return [people[place] for place in np.argpartition(-near, _MOST_RATED)[:_MOST_RATED]]

    def _likeness(self, group: NDArray[np.int64], person: int) -> float:
        """The mean over a group's faces of their mean cosine to the nearest faces of a person."""
        looks = self._looks[person]
        cosines = self._faces.vectors[group[:_MOST_COMPARED]] @ looks.T  # [faces, looks]
        nearest = min(_NEAREST, len(looks))
        best = np.partition(cosines, len(looks) - nearest, axis=1)[:, -nearest:]
        return float(best.mean())


def _allowed(faces: Faces, group: NDArray[np.int64], person: int) -> NDArray[np.int64]:
    """The rows of a group that were not said to be somebody else than this person."""
    allowed = [row for row in group.tolist() if person not in faces.refused.get(row, ())]
    return np.array(allowed, np.int64)


def _before(faces: Faces, group: NDArray[np.int64], used: Collection[int]) -> int | None:
    """The person that most of a group's faces had before, when no one else has become that."""
    votes = Counter(person for person in faces.people[group].tolist() if person >= 0 and person not in used)
    return min(votes, key=lambda person: (-votes[person], person)) if votes else None
