"""Connectors: what they keep, what they are blind to, and that any of them can take another's place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sensorium.models.connectors import (
    ConnectorConfig,
    MlpConfig,
    MlpConnector,
    QFormerConnector,
    Resampler,
    ResamplerConfig,
    connector,
)
from sensorium.models.qformer import QFormerConfig
from tiny_decoders import randomized, relative

SOURCE, TARGET = 12, 20
RESAMPLER = ResamplerConfig(queries=4, depth=2, heads=5, mlp_width=32, activation="gelu", norm_eps=1e-5)
QFORMER = QFormerConfig(4, 16, 3, 2, 24, "gelu", 1e-12, 2, SOURCE, None, 0, text_mlp=False)
CONFIGS: dict[str, tuple[ConnectorConfig, int | None]] = {
    "linear": (MlpConfig(1, "gelu", bias=True), None),
    "mlp": (MlpConfig(2, "gelu", bias=True), None),
    "resampler": (RESAMPLER, 4),
    "qformer": (QFORMER, 4),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [1, 7, 30])
def test_any_connector_fits_between_the_same_tower_and_decoder(name: str, count: int) -> None:
    config, fixed = CONFIGS[name]
    network = connector(config, SOURCE, TARGET)
    x = torch.randn(2, count, SOURCE, requires_grad=True)
    out = network(x)
    assert out.shape == (2, fixed or count, TARGET)
    out.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax(dim=2).min() > 0  # every token was read
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key


def test_a_perceptron_is_its_linear_maps() -> None:
    network = randomized(MlpConnector(MlpConfig(2, "gelu", bias=False), SOURCE, TARGET))
    assert isinstance(network, MlpConnector)
    x = torch.randn(3, SOURCE)
    first, second = (layer.weight for layer in network.layers)
    torch.testing.assert_close(network(x), F.linear(F.gelu(F.linear(x, first)), second))
    with pytest.raises(ValueError, match="0 layers"):
        MlpConnector(MlpConfig(0, "gelu", bias=True), SOURCE, TARGET)


@torch.no_grad()
def test_a_resampler_reads_what_is_there_in_any_order() -> None:
    network = randomized(Resampler(RESAMPLER, SOURCE, TARGET))
    x = torch.randn(2, 9, SOURCE)
    mask = torch.ones(2, 9)
    mask[1, 5:] = 0
    out = network(x, mask)
    assert relative(out[1:], network(x[1:, :5])) < 1e-5
    assert relative(network(x[:, torch.randperm(9)]), network(x)) < 1e-5
    assert relative(network(x + 1), network(x)) > 1e-3


def test_a_q_former_made_for_another_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="reads 12 channels, the tower has 13"):
        connector(QFORMER, SOURCE + 1, TARGET)
    assert isinstance(connector(QFORMER, SOURCE, TARGET), QFormerConnector)
