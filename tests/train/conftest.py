"""What tests of training share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _small_numbers_as_before() -> Iterator[None]:
    """Recipes flush the smallest numbers to zero, for the whole process; other tests count on them."""
    yield
    torch.set_flush_denormal(False)
