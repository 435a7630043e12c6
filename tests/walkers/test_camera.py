import numpy as np
import pytest

from rgcn_jax.walkers.camera import draw_cameras, look
from rgcn_jax.walkers.gait import walk
from rgcn_jax.walkers.population import draw_person


def _scene(camera_number, seed=0, **options):
    rng = np.random.default_rng(seed)
    points = walk(draw_person(rng, 2.0), np.linspace(0, 9, 25)).points
    return points, look(draw_cameras(rng, 8)[camera_number], rng, points, **options)


@pytest.mark.parametrize("camera", range(8))
def test_projection_is_that_of_a_pinhole(camera):
    points, view = _scene(camera)
    eye = view.aim - view.distance * view.away
    xy, depth, scale = view.project(points)
    for f in (0, 7):
        for n in range(points.shape[1]):
            ray = points[f, n] - eye
            along = ray @ view.away
            plane = np.array([ray @ view.right, -(ray @ view.up)]) * view.distance / along
            np.testing.assert_allclose(xy[f, n], (plane - view.corner[f]) / view.size[f], atol=1e-12)
            assert depth[f, n] == pytest.approx(along - view.distance)
            assert scale[f, n] == pytest.approx(view.distance / along / view.size[f])


@pytest.mark.parametrize("camera", range(8))
def test_axes_are_orthonormal_and_the_image_is_not_mirrored(camera):
    _, view = _scene(camera)
    axes = np.stack([view.right, view.up, view.away])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(view.right, view.up), -view.away, atol=1e-12)
    assert view.up[2] > 0.9
    assert view.away[2] < 0  # cameras look down


def test_a_walker_from_the_front_has_the_left_shoulder_on_the_right_of_the_image_response():
    points, view = _scene(1)
    xy, _, _ = view.project(points[:, :14])
    assert (xy[:, 5, 0] - xy[:, 2, 0]).min() > 0.05


@pytest.mark.parametrize("camera", range(4))
@pytest.mark.parametrize("seed", range(5))
def test_the_crop_holds_the_body_and_little_else(camera, seed):
    points, view = _scene(camera, seed, box_jitter=0.0)
    xy, _, _ = view.project(points)
    assert xy[..., 1].min() > 0
    assert xy[..., 1].max() < 1
    np.testing.assert_allclose(np.ptp(xy[..., 1], axis=1), 0.88, atol=0.04)
    assert ((xy[..., 0] > 0) & (xy[..., 0] < 0.5)).mean() > 0.97


def test_light_is_mild():
    for seed in range(20):
        for camera in draw_cameras(np.random.default_rng(seed), 8):
            assert np.all((camera.gain >= 0.88) & (camera.gain <= 1.12))
            assert 6 <= camera.distance <= 12


def test_a_missed_box_shows_less_of_the_body():
    shares = []
    for seed in range(30):
        points, view = _scene(seed % 8, seed)
        xy, _, _ = view.missed(np.random.default_rng(seed)).project(points[:, :14])
        inside = ((xy > 0) & (xy < (0.5, 1.0))).all(-1).mean()
        small = np.ptp(xy[..., 1], axis=1).mean() < 0.5
        shares.append(0.0 if small else inside)
    assert np.mean(shares) < 0.5
