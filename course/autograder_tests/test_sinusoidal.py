"""Hidden tests of sinusoidal positions."""

import pytest
import torch
from calling import ours

from attention import sinusoidal_positions


@pytest.mark.parametrize("dim", [1, 2, 9, 64])
def test_other_numbers_of_channels(dim):
    positions = torch.tensor([0, 1, 17, 300])
    with ours():
        want = sinusoidal_positions(positions, dim)
    torch.testing.assert_close(sinusoidal_positions(positions, dim), want, atol=1e-4, rtol=0)


def test_positions_in_any_order_and_shape():
    positions = torch.tensor([[[5, 2], [0, 9]]])
    with ours():
        want = sinusoidal_positions(positions, 6)
    torch.testing.assert_close(sinusoidal_positions(positions, 6), want, atol=1e-4, rtol=0)
