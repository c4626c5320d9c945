"""A photo library: the one object that applications use.

>>> library = Library.open("Pictures/.sensorium", create=True)
>>> for event in library.index(["Pictures"]): ...
>>> for hit in library.search("sunset at the beach", k=20): ...
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sensorium import settings
from sensorium.errors import BadImageError, LibraryError, SensoriumError
from sensorium.photos import encoder as encoders
from sensorium.photos import golden
from sensorium.photos.collections.rooms import Rooms
from sensorium.photos.database.schema import FILE_NAME
from sensorium.photos.database.store import Failure, Pipeline, Root, Store
from sensorium.photos.encoder import DEFAULT_MODEL, Encoder, EncoderLoader
from sensorium.photos.files.names import join, printable
from sensorium.photos.files.scan import EMPTY, reason_offline
from sensorium.photos.query.model import Query, Term
from sensorium.photos.search import answers, calibration, filters
from sensorium.photos.search.answers import Page, Sort
from sensorium.photos.search.calibration import Calibration
from sensorium.photos.search.ranking import Hit, Results, Searcher, hits
from sensorium.photos.search.reasons import like_picture
from sensorium.photos.vectors.matrix import Matrix

if TYPE_CHECKING:
    from types import TracebackType

    from sensorium.photos.intake.indexing import Event


_NOTHING = "nothing to search for: say in words what the photo shows"


def default_folder() -> Path:
    """``SENSORIUM_LIBRARY``, else ``library`` in the folder where Sensorium keeps its things."""
    configured = os.environ.get("SENSORIUM_LIBRARY")
    return Path(configured).expanduser() if configured else settings.home() / "library"


def check_new(folder: str | os.PathLike[str] | None, targets: Sequence[str | os.PathLike[str]]) -> None:
    """Before a library is made: refuse folders to index that cannot be meant, and leave nothing behind.

    Says nothing where there is a library already; that one knows more (``Library.index``). Raises
    LibraryError as ``indexing.check_folders`` does.
    """
    place = Path(folder).expanduser() if folder is not None else default_folder()
    if not (place / FILE_NAME).is_file():
        from sensorium.photos.intake.indexing import check_folders

        check_folders(targets, place)


def parse_alone(words: str) -> Query:
    """What a sentence asks for where there is no library whose people and cameras could be meant."""
    from sensorium.photos import query

    return query.parse(words, now=settings.now(), image_exists=_is_file)


@dataclass(frozen=True, slots=True)
class RootStatus:
    """A folder that the library looks after. ``offline`` holds the reason when it cannot be seen now."""

    path: Path
    photos: int
    offline: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What a library holds.

    ``photos`` counts those that are there, offline ones included; ``embedded`` those of them that a
    search can find; ``offline`` those of them in a folder that cannot be seen now; ``gone`` photos
    whose file was deleted. ``failed`` lists files that could not be taken.
    """

    folder: Path
    model: str | None
    photos: int
    embedded: int
    offline: int
    gone: int
    failed: list[Failure]
    roots: list[RootStatus]
    bytes: int


class Library(Rooms):
    """A library folder, opened. Methods raise SensoriumError with one line for everything a user can mend."""

    def __init__(self, store: Store, loader: EncoderLoader | None = None) -> None:
        self._store = store
        self._load = loader
        self._encoders: dict[str, Encoder] = {}
        self._searcher = Searcher(store)
        self._calibrations: dict[int, Calibration] = {}
        self._named: tuple[int, list[str], list[str]] | None = None  # people and cameras, of a generation
        self._trusted: set[int] = set()  # pipelines whose encoder agrees with their golden values

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str] | None = None,
        *,
        create: bool = False,
        loader: EncoderLoader | None = None,
    ) -> Self:
        """Open a library.

        Args:
            folder: Where the library is kept; ``default_folder`` when absent.
            create: Make it when there is none.
            loader: Opens a model by name; ``sensorium.load`` when absent.

        Raises:
            LibraryError: There is none, it is damaged, not writable, or of a newer Sensorium.
        """
        path = Path(folder).expanduser() if folder is not None else default_folder()
        return cls(Store(Path(os.path.abspath(path)), create=create), loader)  # noqa: PTH100

    def close(self) -> None:
        """Let go of the library's file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where the library is kept."""
        return self._store.folder

    @property
    def store(self) -> Store:
        """The library's file, for modules that hold their own SQL."""
        return self._store

    def generation(self) -> int:
        """A number that grows with every change of what the library could answer or show."""
        return self._store.generation()

    def index(
        self,
        folders: Sequence[str | os.PathLike[str]] = (),
        *,
        model: str | None = None,
        workers: int | None = None,
        settle: float = 0.0,
    ) -> Iterator[Event]:
        """Take what is new or changed in folders (all known ones when none is given); yields events.

        Stopping at any point is safe. Originals are only read. ``model`` defaults to the one that the
        library was indexed with; ``settle`` is as in ``indexing.index``. Raises LibraryError as
        ``indexing.index`` says, ModelNotFoundError.
        """
        from sensorium.photos.intake import indexing

        if workers is not None and workers < 1:
            raise SensoriumError(f"workers must be at least 1, not {workers}")
        active = self._store.active_pipeline()
        wanted = model or (active.model if active else DEFAULT_MODEL)
        encoder = self._encoder(wanted)
        events = indexing.index(
            self._store,
            folders,
            encoder,
            model=_reference(wanted, encoder),
            workers=workers or indexing.default_workers(),
            settle=settle,
        )
        begun = False
        with contextlib.closing(events):  # it holds the library's lock
            for event in events:
                if isinstance(event, indexing.Finished):
                    self._calibrate(encoder)
                    answering = self._store.active_pipeline()
                    if answering is not None:  # a large library's copy is made now, not by the first search
                        self._searcher.read(answering)
                yield event
                # Now and not at the first search, which would have to wait for it.
                if isinstance(event, indexing.Progress) and not begun:
                    begun = True
                    self._calibrate(encoder)

    def parse(self, words: str, *, image_exists: Callable[[str], bool] | None = None) -> Query:
        """What a sentence asks for, as data that can be shown, corrected and given to ``search``.

        People and cameras are those that the library knows. ``image_exists`` tells which words of a sum are
        pictures; by default those that name a file here. Raises LibraryError.
        """
        from sensorium.photos import query

        known, generation = self._named, self._store.generation()
        if known is None or known[0] != generation:
            names = filters.names_of_people(self._store)
            known = self._named = generation, names, filters.cameras(self._store)
        return query.parse(
            words,
            now=settings.now(),
            people=known[1],
            cameras=known[2],
            image_exists=image_exists or _is_file,
        )

    def search(
        self,
        words: str | Query,
        k: int = 20,
        *,
        after_cursor: str | None = None,
        sort: Sort = "relevance",
        everything: bool = False,
        pictures: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> Results:
        """Photos that fit a sentence: taken then and there, showing that.

        Args:
            words: A sentence in English or Chinese, or a query from ``parse``, perhaps corrected.
            k: Photos on a page.
            after_cursor: Go on where an earlier page of the same search ended (``Results.cursor``).
            sort: ``relevance``, best first, or ``date``, newest first. Without a look it is always the date.
            everything: Leave nothing out that passes the filters, however little it looks like the words.
            pictures: The vectors [d] of all pictures that the query's terms name. No file is opened then.

        Raises:
            SensoriumError: There is nothing to search for, a picture that is named cannot be read, or the
                cursor belongs to another search.
            LibraryError: The library is empty, or cannot be read.
        """
        said = " ".join(words.split()) if isinstance(words, str) else words
        if not said:
            raise SensoriumError(_NOTHING)
        pipeline = self._ready(k)
        page = Page(k, sort, after_cursor, everything)
        with contextlib.ExitStack() as ending:
            opening: Future[Any] | None = None
            if pipeline.id not in self._trusted:
                # A new process opens the model and reads the vectors while it understands the sentence.
                helpers = ending.enter_context(ThreadPoolExecutor(2))
                opening = helpers.submit(self._encoder_of, pipeline)
                reading = helpers.submit(self._searcher.read, pipeline)
            query = self.parse(said) if isinstance(said, str) else said
            terms = answers.looks(query)
            if not terms and not answers.has_filters(query):
                raise SensoriumError(_NOTHING)
            if opening is not None and terms:
                opening.result()  # facts alone are found without the model
            vectors = self._vectors_of(terms, pipeline, pictures)
            index = reading.result() if opening is not None else self._searcher.read(pipeline)
        return answers.answer(
            self._store,
            query,
            page,
            pipeline=pipeline,
            index=self._searcher.watch(index),
            calibration=self._calibration(pipeline, index) if terms else None,
            terms=list(zip(terms, vectors, strict=True)),
            regions=self._searcher.regions(pipeline),
        )

    def similar(self, image: str | os.PathLike[str], k: int = 20) -> list[Hit]:
        """The ``k`` photos that look most like a picture, in the library or not, without itself.

        Raises SensoriumError when the file cannot be read as a picture.
        """
        pipeline = self._ready(k)
        path = os.fspath(image)
        row = self._store.photo_at(path)
        query = self._stored_vector(path, pipeline)
        if query is None:
            query = self._vector_of_file(path, self._encoder_of(pipeline))
        found = self._searcher.nearest(pipeline, query, k, without=row.id if row is not None else None)
        name = printable(Path(path).name)
        return self._alike(pipeline, query, found, name)

    def similar_to(self, photo_id: int, k: int = 20) -> list[Hit]:
        """The ``k`` photos that look most like one of the library, without itself.

        Raises SensoriumError when there is no such photo, or none of its pixels is known.
        """
        pipeline = self._ready(k)
        query = self.vector_of(photo_id)
        if query is None:
            raise SensoriumError(f"photo {photo_id} was not indexed yet: nothing can be compared with it")
        found = self._searcher.nearest(pipeline, query, k, without=photo_id)
        name = printable(self._store.photos([photo_id])[photo_id].path.rpartition("/")[2])
        return self._alike(pipeline, query, found, name)

    def _alike(
        self, pipeline: Pipeline, query: NDArray[np.float32], found: list[tuple[int, float]], name: str
    ) -> list[Hit]:
        index = self._searcher.watch(self._searcher.read(pipeline))
        moments = index.moments([query], [1.0], [photo for photo, _ in found])
        return hits(self._store, found, lambda _: like_picture(name), moments)

    def vector_of(self, photo_id: int) -> NDArray[np.float32] | None:
        """The vector [d] of a photo in the model that answers; None when there is none. LibraryError."""
        vector = self._store.vector_of(photo_id, self._ready(1).id)
        return None if vector is None else vector.astype(np.float32)

    def answering(self) -> Encoder:
        """The model that answers searches. Raises LibraryError when the library is empty."""
        return self._encoder_of(self._ready(1))

    def build_graph(self) -> float | None:
        """Build the disposable graph by which ``similar`` answers sooner among more than a million photos.

        Takes minutes a million. Returns its recall at 20, measured on the background texts; None when the
        library is too small to need one, or the graph found too little and was not kept. Raises LibraryError.
        """
        from sensorium.photos.vectors.hnsw import build_hnsw

        pipeline = self._ready(1)
        index = self._searcher.read(pipeline)
        graph = build_hnsw(index, self._calibration(pipeline, index).prompts)
        return None if graph is None else graph.recall

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path is that of an original that the library looks after."""
        return self._store.photo_at(os.fspath(path)) is not None

    def status(self) -> Status:
        """Count and list what the library holds."""
        pipeline = self._store.active_pipeline()
        photos, embedded, gone = self._store.count_photos(pipeline.id if pipeline else None)
        by_root = self._store.root_ids_with_photos()
        roots = [_root_status(root, by_root.get(root.id, 0)) for root in self._store.roots()]
        failed = self._store.failures(pipeline.id) if pipeline else ()
        return Status(
            folder=self.folder,
            model=pipeline.model if pipeline else None,
            photos=photos,
            embedded=embedded,
            offline=sum(root.photos for root in roots if root.offline),
            gone=gone,
            failed=[Failure(join(root, failure.path), failure.reason) for root, failure in failed],
            roots=roots,
            bytes=sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file()),
        )

    def _ready(self, k: int) -> Pipeline:
        """The pipeline that answers; refused when there is nothing to answer from."""
        if k < 1:
            raise SensoriumError(f"the number of photos to show must be at least 1, not {k}")
        pipeline = self._store.active_pipeline()
        if pipeline is None or not self._store.answers(pipeline.id):
            raise LibraryError(
                f"the photo library {printable(self.folder)} is empty: fill it with `sensorium index FOLDER`"
            )
        return pipeline

    def _encoder(self, name: str) -> Encoder:
        if name not in self._encoders:
            self._encoders[name] = (self._load or encoders.load_encoder)(name)
        return self._encoders[name]

    def _encoder_of(self, pipeline: Pipeline) -> Encoder:
        """The model that made the vectors of a pipeline, and no other version of it."""
        encoder = self._encoder(pipeline.model)
        if encoder.pipeline != pipeline.pipeline:
            raise LibraryError(
                f"the photos were encoded with another version of {pipeline.model}: "
                "run `sensorium index` once to encode them with this one"
            )
        if pipeline.id not in self._trusted:
            golden.compare(pipeline, encoder)
            self._trusted.add(pipeline.id)
        return encoder

    def _vectors_of(
        self, terms: Sequence[Term], pipeline: Pipeline, pictures: Mapping[str, NDArray[np.float32]] | None
    ) -> list[NDArray[np.float32]]:
        """A vector of unit length [d] for each term."""
        words = [term.words for term in terms if term.words is not None]
        encoded = iter(self._encoder_of(pipeline).embed_texts(words) if words else ())
        vectors: list[NDArray[np.float32]] = []
        for term in terms:
            picture = term.image or ""
            if term.words is not None:
                vectors.append(next(encoded))
            elif pictures is None:
                vectors.append(self._vector_of_picture(picture, pipeline))
            elif picture in pictures:
                vectors.append(pictures[picture])
            else:
                raise SensoriumError(f"the picture {printable(picture)} is not known")
        return vectors

    def _vector_of_picture(self, path: str, pipeline: Pipeline) -> NDArray[np.float32]:
        path = os.path.expanduser(path)  # noqa: PTH111
        stored = self._stored_vector(path, pipeline)
        return stored if stored is not None else self._vector_of_file(path, self._encoder_of(pipeline))

    def _calibration(self, pipeline: Pipeline, index: Matrix) -> Calibration:
        """What scores mean now: from memory, from the library, or measured again when it has grown."""
        kept = self._calibrations.get(pipeline.id) or calibration.stored(self._store, pipeline.id)
        if kept is None or not kept.fits(len(index)):
            kept = self._measure(pipeline, self._encoder_of(pipeline), index, kept)
        self._calibrations[pipeline.id] = kept
        return kept

    def _measure(
        self, pipeline: Pipeline, encoder: Encoder, index: Matrix, before: Calibration | None
    ) -> Calibration:
        """Measure and keep; the background texts are embedded once a model."""
        known = before is not None and before.digest == calibration.background().digest
        prompts = before.prompts if before is not None and known else calibration.embed_background(encoder)
        photos = calibration.sampled(self._store, pipeline, index.ids())
        measured = calibration.measure(prompts, photos, len(index))
        calibration.keep(self._store, pipeline.id, measured)
        return measured

    def _calibrate(self, encoder: Encoder) -> None:
        """Bring the calibration of an encoder's pipeline up to date with the library."""
        pipeline = self._store.pipeline(encoder.pipeline)
        if pipeline is None or not self._store.answers(pipeline.id):
            return
        kept = calibration.stored(self._store, pipeline.id)
        _, embedded, _ = self._store.count_photos(pipeline.id)
        if kept is None or not kept.fits(embedded):
            index = self._searcher.read(pipeline)
            self._calibrations[pipeline.id] = self._measure(pipeline, encoder, index, kept)

    def _stored_vector(self, path: str, pipeline: Pipeline) -> NDArray[np.float32] | None:
        """The vector of a photo of this library, as long as its file is the one that was encoded."""
        row = self._store.photo_at(path)
        if row is None or row.missing_since is not None:
            return None
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            status = None
        if status is not None and (status.st_size, status.st_mtime_ns) != (row.size, row.mtime_ns):
            return None
        vector = self._store.vector_of(row.id, pipeline.id)
        return None if vector is None else vector.astype(np.float32)

    def _vector_of_file(self, path: str, encoder: Encoder) -> NDArray[np.float32]:
        from sensorium.media.image import fit_image, read_image

        spec = encoder.image_spec
        try:
            pixels = fit_image(read_image(Path(path), smallest=spec.decode_side), spec)
        except BadImageError as error:
            raise SensoriumError(f"{printable(path)}: {error}") from error
        query: NDArray[np.float32] = encoder.embed_pixels(pixels[None])[0]
        return query


def _is_file(path: str) -> bool:
    return os.path.isfile(os.path.expanduser(path))  # noqa: PTH111, PTH113


def _root_status(root: Root, photos: int) -> RootStatus:
    reason = reason_offline(root.path)
    # An empty folder that never held a photo is just that.
    return RootStatus(Path(root.path), photos, None if reason == EMPTY and not photos else reason)


def _reference(wanted: str, encoder: Encoder) -> str:
    """What opens the same model from any folder: an absolute path when a path was given, else the name."""
    is_name = encoder.name == wanted and "/" in wanted
    folder = Path(wanted).expanduser()
    return wanted if is_name or not folder.is_dir() else str(folder.resolve())
