import numpy as np
import pytest

from rgcn_jax.pose_detection.framing import frame


def _blob(height, width, x, y):
    """A bell on black around a point; its centre of mass is the point."""
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    bell = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (0.03 * height) ** 2))
    return np.repeat(bell.round().astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [(256, 128), (128, 64), (61, 33), (700, 301), (40, 90)])
@pytest.mark.parametrize(("height", "width", "margin", "replicate"), [(256, 256, 1.0, True), (256, 192, 1.25, False)])
def test_a_point_finds_its_way_back(size: tuple[int, int], height, width, margin, replicate):
    x, y = 0.4 * size[1], 0.55 * size[0]
    framed = frame(_blob(*size, x, y), height, width, margin, replicate)
    assert framed.image.shape == (height, width, 3)
    mass = framed.image[..., 0].astype(np.float64)
    seen = np.array([mass.sum(0) @ (np.arange(width) + 0.5), mass.sum(1) @ (np.arange(height) + 0.5)]) / mass.sum()
    np.testing.assert_allclose(seen * framed.scale - framed.border, [x, y], atol=0.012 * max(size) ** 0.5 + 0.1)
    # The shape is kept, but for a pixel of rounding of the box.
    assert framed.scale[0] == pytest.approx(framed.scale[1], rel=1.5 / min(size))


def test_the_box_is_the_crop_times_the_margin_brought_to_the_inputs_shape():
    framed = frame(np.full((256, 128, 3), 9, np.uint8), 256, 192, 1.25, replicate=False)
    np.testing.assert_array_equal(framed.scale, [240 / 192, 320 / 256])
    np.testing.assert_array_equal(framed.border, [56, 32])
    assert framed.image[128, 96, 0] == 9
    assert framed.image[5, 96, 0] == framed.image[128, 5, 0] == 0
    assert (frame(np.full((256, 128, 3), 9, np.uint8), 256, 256, 1.0, replicate=True).image == 9).all()
