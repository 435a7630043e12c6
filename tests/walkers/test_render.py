import cv2
import numpy as np
import pytest

from rgcn_jax.walkers.camera import draw_cameras, look
from rgcn_jax.walkers.contact_sheet import contact_sheet, draw_skeleton, most_varied_group
from rgcn_jax.walkers.detector import Occluder
from rgcn_jax.walkers.dress import dress
from rgcn_jax.walkers.gait import walk
from rgcn_jax.walkers.outfit import draw_outfits
from rgcn_jax.walkers.population import draw_person
from rgcn_jax.walkers.render import Painter, Place, draw_frames
from rgcn_jax.walkers.scenery import occluder_shapes, panorama


@pytest.mark.parametrize("size", [(64, 32), (256, 128), (90, 60)])
@pytest.mark.parametrize("seed", range(6))
def test_keypoints_lie_on_the_drawn_person(seed, size):
    rng = np.random.default_rng(seed)
    person, outfit = draw_person(rng, 2.0), draw_outfits(rng, 1)[0]
    motion = walk(person, np.linspace(0, 7, 12))
    camera = draw_cameras(rng, 8)[seed]
    view = look(camera, rng, motion.points)
    painter = Painter(dress(person, motion, outfit), view, camera, *size)
    xy, _, _ = view.project(motion.points[:, :14])
    on_person, covered = [], []
    for f in range(12):
        image = np.zeros((painter.rows, painter.columns, 3), np.uint8)
        painter.paint(f, image)
        mask = np.any(image, axis=-1)
        covered.append(mask.mean())
        pixels = np.floor(xy[f] * [2 * painter.columns, painter.rows]).astype(int)
        inside = ((pixels >= 0) & (pixels < (painter.columns, painter.rows))).all(-1)
        on_person += mask[pixels[inside, 1], pixels[inside, 0]].tolist()
    assert len(on_person) > 150
    assert all(on_person)
    assert 0.12 < np.mean(covered) < 0.5  # a person, not a wall


def test_another_size_shows_the_same_image_response(small):
    tracklet = small.split.train[1]
    large, little = (small.frames(tracklet, h, h // 2).astype(float) for h in (128, 64))
    shrunk = large.reshape(len(large), 64, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - little).mean() < 6
    assert np.corrcoef(shrunk.ravel(), little.ravel())[0, 1] > 0.97


def test_look_alikes_are_drawn_in_the_same_colours_and_others_are_not(small):
    def trunk_colours(person_id):
        return np.array(small.outfits[person_id].top + small.outfits[person_id].bottom)

    test = {t.person_id for t in small.split.query}
    groups = [group for group in small.look_alikes if test.issuperset(group)]
    for a, b in groups:
        np.testing.assert_array_equal(trunk_colours(a), trunk_colours(b))
    assert all(np.abs(trunk_colours(a[0]) - trunk_colours(b[0])).max() > 25 for a in groups for b in groups if a != b)


@pytest.mark.parametrize("kind", ["pole", "car", "bush"])
def test_an_occluder_is_drawn_where_it_covers_and_only_during_its_burst(kind):
    rng = np.random.default_rng(3)
    person, outfit, camera = draw_person(rng, 2.0), draw_outfits(rng, 1)[0], draw_cameras(rng, 2)[1]
    motion = walk(person, np.linspace(0, 3, 4))
    view = look(camera, rng, motion.points)
    painter = Painter(dress(person, motion, outfit), view, camera, 128, 64)
    box = np.zeros((4, 4))
    box[1:3] = [0.05, 0.4, 0.35, 0.9]
    occluder = Occluder(kind, box)
    scene = panorama(camera, rng)
    places = [Place(scene, 2.0, 0.05, o, occluder_shapes(kind, np.random.default_rng(0))) for o in (None, occluder)]
    free, hidden = (draw_frames(painter, view, place, np.random.default_rng(1), 128, 64) for place in places)
    np.testing.assert_array_equal(free[[0, 3]], hidden[[0, 3]])
    y, x = (np.mgrid[:128, :64] + 0.5) / 128
    covered = occluder.covers(np.stack([x, y], -1).reshape(1, -1, 2).repeat(4, axis=0))[1].reshape(128, 64)
    inner = cv2.erode(covered.astype(np.uint8), np.ones((5, 5))) > 0
    outer = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5))) > 0
    changed = np.abs(free[1:3].astype(int) - hidden[1:3]).max(axis=-1) > 12
    assert not changed[:, ~outer].any()
    assert changed[:, inner].mean() > 0.8


def test_the_contact_sheet_has_a_row_for_each_look_alike_and_a_block_for_each_camera(small):
    sheet = contact_sheet(small, height=64, frames_per_camera=2)
    assert sheet.shape == (2 * 64 + 4, 3 * 2 * 32 + 2 * 4, 3)
    group = most_varied_group(small)
    first = next(t for t in small.split.gallery if t.person_id == group[0] and t.camera_id == 1)
    np.testing.assert_array_equal(sheet[:64, :32], small.frames(first, 64, 32)[0])
    plain = contact_sheet(small, height=64, frames_per_camera=2, skeleton=False)
    changed = np.abs(plain.astype(int) - sheet).max(axis=-1) > 0
    assert changed[:64, 32:64].mean() > 0.03
    assert not changed[:64, :32].any()


def test_the_contact_sheet_names_an_unknown_person(small):
    with pytest.raises(ValueError, match="person 77 is not in the data"):
        contact_sheet(small, group=(77,))


def test_the_skeleton_is_drawn_where_the_keypoints_are_and_not_where_they_are_missing():
    image = np.zeros((100, 50, 3), np.uint8)
    keypoints = np.zeros((14, 3), np.float32)
    keypoints[2], keypoints[3] = (0.2, 0.3, 0.9), (0.2, 0.6, 0.9)
    draw_skeleton(image, keypoints)
    assert image[29, 9].any()
    assert image[59, 9].any()
    assert image[45, 9, 0] > image[45, 9, 2]  # the right arm is orange
    assert not image[:, 20:].any()
    assert not image[:20].any()
