"""Golden values: what tokenizer, preparation and towers gave when a pipeline was first used in a library.

A pipeline's name says which weights and which preparation made its vectors. It cannot say that the code
around them still does what it did: another release of a tokenizer, of Pillow or of an engine, a graph
compiled wrong. Such a change raises no error; it only makes the answers bad. So each library keeps, with
a pipeline, the token ids of a few sentences as one padded batch, the normalised values of a drawn picture
and the vectors of a sentence and of that picture, and compares them whenever it opens the model again.

Token ids must be equal, prepared values within a few steps of a byte. Vectors may differ as far as the
engines may that run the towers (float32, bfloat16, int8): measured for mini-clip, the sentence keeps a
cosine of 0.9999 between them and the picture 0.998; red and blue exchanged bring the picture to 0.89, a
quarter turn to 0.56. Int8 strays further on pictures unlike photos, hence the lower bound for the picture.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium.errors import LibraryError
from sensorium.photos.database.schema import pipelines

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.photos.database.store import Pipeline, Store
    from sensorium.photos.encoder import Encoder

VERSION = 1
LEAST_TEXT = 0.99  # cosine of the sentence's vector to the kept one
LEAST_PICTURE = 0.95  # cosine of the picture's vector
MOST_STEPS = 3  # of 255 that a prepared value may be away: decoders and resizers round differently

SENTENCES = (
    "a photo of a dog",
    "The CAFÉ's 2nd window — “open”, half past 10!",
    "在沙发上睡觉的猫",
    "２０２４年 秋天的北京 and Kyoto",
)
LONG = "one more tree beside the long road " * 12  # than any context: which tokens are left of it?
WORDS = "two bicycles leaning on a wall, one of them red"
_SAMPLED = 16  # points a side of the prepared picture that are kept


@runtime_checkable
class _Tokenizes(Protocol):
    """An encoder that shows its tokenizer, as ``skills.embed.DualEncoder`` does."""

    @property
    def tokenizer(self) -> Any: ...


def measure(encoder: Encoder, *, picture: bool = False) -> str:
    """What an encoder gives now, as JSON.

    Args:
        encoder: The model.
        picture: Encode the picture too. Only worth it where photos are being encoded: it may open the
            image tower, which should see real photos first.
    """
    shown: dict[str, Any] = {
        "version": VERSION,
        "tokens": _tokens(encoder),
        "pixels": _packed(_prepared(encoder)),
        "text": _packed(encoder.embed_texts([WORDS])[0]),
    }
    if picture:
        shown["picture"] = _packed(_picture_vector(encoder))
    return json.dumps(shown, separators=(",", ":"))


def check(encoder: Encoder, stored: str, *, picture: bool = False) -> str | None:
    """Why an encoder no longer agrees with what ``measure`` stored, as the end of a sentence, or None.

    What one of both sides does not know is not compared; nor is anything kept by another ``VERSION``.
    """
    kept = _read(stored)
    if kept is None:
        return "its stored golden values are damaged"
    if kept.get("version") != VERSION:
        return None
    tokens = _tokens(encoder)
    if tokens is not None and kept.get("tokens") is not None and tokens != kept["tokens"]:
        return _token_difference(tokens, kept["tokens"])
    prepared, before = _prepared(encoder), _unpacked(kept["pixels"])
    if before is None or prepared.shape != before.shape:
        return "it prepares pictures to another size"
    steps = float(np.abs(prepared - before).max()) * min(encoder.image_spec.std) * 255
    if not steps <= MOST_STEPS:
        return f"it prepares pictures otherwise, by up to {steps:.0f} steps of brightness"
    return _vector_difference(encoder, kept, picture=picture)


def compare(pipeline: Pipeline, encoder: Encoder) -> None:
    """Before an encoder answers searches: refuse when it disagrees with its pipeline's golden values.

    Costs one text encoding and the preparation of one picture; writes nothing.

    Raises:
        LibraryError: It disagrees; the line says in what, and what to do.
    """
    if pipeline.golden is not None:
        _refuse(check(encoder, pipeline.golden), pipeline)


def keep(store: Store, pipeline: Pipeline, encoder: Encoder) -> None:
    """Before an encoder's first photos of a run are kept: compare with the golden values, or store them.

    Call it when a batch of real photos has been through the image tower, and before that batch is written.

    Raises:
        LibraryError: It disagrees: its vectors must not stand beside those that are there.
    """
    stored = pipeline.golden
    kept = _read(stored) if stored is not None else {}
    if stored is not None:
        _refuse(check(encoder, stored, picture=True), pipeline)
    if kept is None or kept.get("version") != VERSION or "picture" not in kept:
        measured = measure(encoder, picture=True)
        if not readable(measured):
            return  # vectors that are none: the photos' own will be refused one by one
        with store.writing() as connection:
            row = sa.update(pipelines).where(pipelines.c.id == pipeline.id)
            connection.execute(row.values(golden=measured))


def readable(stored: str) -> bool:
    """Whether stored golden values can be read at all, for ``library check``."""
    return _read(stored) is not None


def draw() -> Image.Image:
    """The picture, of a size that no network takes: a sky, a hill, a sun and a fence of fine bars."""
    from PIL import Image

    x, y = np.meshgrid(np.linspace(0, 1, 200), np.linspace(0, 1, 150))
    canvas = np.stack([90 + 80 * y, 140 + 60 * y, 230 - 60 * y], axis=-1)
    canvas[y > 0.62 + 0.05 * np.sin(6 * x)] = (60, 120, 40)
    canvas[2 * (x - 0.7) ** 2 + (y - 0.3) ** 2 < 0.02] = (250, 210, 60)
    bars = np.arange(200)[None, :] % 5 < 2
    canvas[bars & (x > 0.2) & (x < 0.45) & (y > 0.65) & (y < 0.9)] = (150, 40, 40)
    return Image.fromarray(canvas.astype(np.uint8))


def _refuse(reason: str | None, pipeline: Pipeline) -> None:
    if reason is not None:
        raise LibraryError(
            f"{pipeline.model} no longer works as when it encoded these photos: {reason}; go back to the "
            f"versions of then, or encode again: `sensorium library models --renew {pipeline.model}`, "
            "then `sensorium index`"
        )


def _tokens(encoder: Encoder) -> list[dict[str, Any]] | None:
    """Ids and masks of the sentences as one batch, so that its padding shows, and of the long one alone.

    None for an encoder that does not show its tokenizer.
    """
    if not isinstance(encoder, _Tokenizes):
        return None
    batches = [encoder.tokenizer.encode(texts) for texts in (SENTENCES, [LONG])]
    return [{"ids": batch.ids.tolist(), "mask": batch.mask.tolist()} for batch in batches]


def _token_difference(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> str:
    for batch, kept in zip(now, before, strict=True):
        widths = [len(rows["ids"][0]) for rows in (batch, kept)]
        if widths[0] != widths[1]:
            return f"it pads or cuts sentences to {widths[0]} tokens, not {widths[1]}"
        if batch["ids"] != kept["ids"]:
            return "it turns sentences into other tokens"
    return "it looks at other tokens of a sentence"


def _prepared(encoder: Encoder) -> NDArray[np.float32]:
    """Normalised values [3, 16, 16] at evenly spread points of the prepared picture."""
    from sensorium.media.image import fit_image, normalize

    pixels = fit_image(draw(), encoder.image_spec)
    rows, columns = (np.linspace(0, side - 1, _SAMPLED).astype(int) for side in pixels.shape[:2])
    sampled: NDArray[np.float32] = normalize(pixels[rows[:, None], columns][None], encoder.image_spec)[0]
    return sampled


def _picture_vector(encoder: Encoder) -> NDArray[np.float32]:
    from sensorium.media.image import fit_image

    row: NDArray[np.float32] = encoder.embed_pixels(fit_image(draw(), encoder.image_spec)[None])[0]
    return row


def _vector_difference(encoder: Encoder, kept: dict[str, Any], *, picture: bool) -> str | None:
    reason = _differs("the sentence", encoder.embed_texts([WORDS])[0], kept.get("text"), LEAST_TEXT)
    if reason is None and picture and "picture" in kept:
        reason = _differs("the picture", _picture_vector(encoder), kept["picture"], LEAST_PICTURE)
    return reason


def _differs(what: str, vector: NDArray[np.float32], kept: Any, least: float) -> str | None:
    before = _unpacked(kept)
    if before is None or before.shape != vector.shape:
        return f"it gives vectors of {len(vector)} numbers"
    cosine = float(np.dot(before, vector) / np.linalg.norm(before) / np.linalg.norm(vector))
    if not cosine >= least:
        return f"it gives {what} another vector (cosine {cosine:.3f}, at least {least} expected)"
    return None


def _packed(values: NDArray[np.float32]) -> dict[str, Any] | None:
    """Shape and float16 values: enough for any of these comparisons. None when they are no numbers."""
    halves = np.ascontiguousarray(values, dtype="<f2")
    if not np.isfinite(halves).all() or not halves.any():
        return None
    return {"shape": list(values.shape), "float16": base64.b64encode(halves.tobytes()).decode("ascii")}


def _unpacked(packed: Any) -> NDArray[np.float32] | None:
    try:
        raw = base64.b64decode(packed["float16"], validate=True)
        return np.frombuffer(raw, "<f2").reshape(packed["shape"]).astype(np.float32)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _read(stored: str) -> dict[str, Any] | None:
    """The stored document, or None when it is not what any version of ``measure`` wrote."""
    try:
        kept = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or not isinstance(kept.get("version"), int):
        return None
    return kept if kept["version"] != VERSION or _is_whole(kept) else None


def _is_whole(kept: dict[str, Any]) -> bool:
    tokens = kept.get("tokens")
    if tokens is not None and not (
        isinstance(tokens, list) and len(tokens) == 2 and all(map(_is_batch, tokens))
    ):
        return False
    vectors = [kept.get(name) for name in ("pixels", "text", *(["picture"] if "picture" in kept else []))]
    return all(_unpacked(vector) is not None for vector in vectors)


def _is_batch(batch: Any) -> bool:
    """Whether it has at least one row of ids, and a mask."""
    rows = batch.get("ids") if isinstance(batch, dict) else None
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], list) and "mask" in batch
