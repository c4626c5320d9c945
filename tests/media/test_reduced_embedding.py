"""Reading photos at reduced size leaves their embeddings where they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sensorium.media.image import fit_image, normalize, read_image
from sensorium.weights.files import find
from sensorium.weights.load import build

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def test_embeddings_of_reduced_photos() -> None:
    model = find("sensorium/mini-clip")
    network = build(model)
    cosines = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        whole, reduced = read_image(path), read_image(path, smallest=288)
        if reduced.size == whole.size:
            continue
        # The photos here are small, so the network's side is brought down to theirs: 1.5 times 192 is 288.
        spec = replace(model.image, height=192, width=192, resize=192)
        assert spec.decode_side == 288
        rows = normalize(np.stack([fit_image(whole, spec), fit_image(reduced, spec)]), spec)
        with torch.inference_mode():
            one, other = torch.nn.functional.normalize(network.encode_image(torch.from_numpy(rows)))
        cosines.append(float(one @ other))
    assert len(cosines) >= 10
    assert np.mean(cosines) >= 0.995, cosines
    assert min(cosines) >= 0.98, cosines
