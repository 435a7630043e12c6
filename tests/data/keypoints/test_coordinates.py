"""Units and spread of coordinates over a data set: what is implausible is refused, what is doubtful is said."""

import numpy as np
import pytest

from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.keypoints.coordinates import doubts, normalised_coordinates
from rgcn_jax.data.keypoints.store import save
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import to_14
from rgcn_jax.types import Split, Tracklet
from tests.data.keypoints.bodies import people

SIZE = np.array([[256, 128]])
FRAMES = tuple(f"d/{i:03}.jpg" for i in range(40))
BODIES = to_14(people("coco17", 40), "coco17")


def _scaled(x, y=None):
    return (BODIES * np.array([x, x if y is None else y, 1])).astype(np.float32)


def _read(tmp_path, bodies, **reported):
    split = Split("small", tmp_path, (Tracklet(FRAMES, 1, 1),), (), (), (), (256, 128))
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=bodies)
    return keypoint_table.read_source(tmp_path / "k.npz", split, split.train, **reported)


def test_people_in_their_crops_are_not_doubtful(tmp_path):
    table, _ = _read(tmp_path, BODIES)
    assert table.remarks == ()
    np.testing.assert_allclose(table.values, _scaled(1 / 128, 1 / 256), rtol=1e-6)


def test_one_joint_above_1_does_not_make_pixels(tmp_path):
    normalised = _scaled(1 / 128, 1 / 256)
    normalised[3, 10, 1] = 1.009
    with pytest.raises(InputError, match=r"normalised coordinates.*--units=normalised"):
        _read(tmp_path, normalised)
    table, found = _read(tmp_path, normalised, units="normalised")
    np.testing.assert_allclose(found.pixels[:3], BODIES[:3], rtol=1e-5)
    assert not table.values[3, 10].any()  # outside
    with pytest.raises(InputError, match="normalised"):
        normalised_coordinates("f", normalised, SIZE)


def test_some_bodies_in_other_units_are_refused(tmp_path):
    mixed = BODIES.copy()
    mixed[5:8, :, :2] /= (128, 256)
    with pytest.raises(InputError, match="mixed with pixels"):
        _read(tmp_path, mixed)


def test_pixels_that_are_told_to_be_normalised(tmp_path):
    with pytest.raises(InputError, match="outside of their crops"):
        _read(tmp_path, BODIES, units="normalised")


@pytest.mark.parametrize(("factor", "cause"), [(368 / 256, "keypoint_scale 0"), (2.0, "keypoint_scale 0")])
def test_pixels_of_an_enlarged_image_are_refused(tmp_path, factor, cause):
    with pytest.raises(InputError, match=f"outside of their crops.*{cause}"):
        _read(tmp_path, _scaled(factor))


def test_what_is_known_to_be_pixels_is_only_doubtful(tmp_path):
    table, _ = _read(tmp_path, _scaled(368 / 256), units="pixels")
    assert "lie outside" in table.remarks[0]


@pytest.mark.parametrize(
    ("bodies", "doubt"),
    [
        (_scaled(0.5), "nearly all joints lie between"),
        (_scaled(1.2), "lie outside of their crops and count as not detected"),
        (BODIES + np.array([32, 0, 0], np.float32), "not in the middle of the crops|lie outside"),
        (BODIES * np.array([1, 1, 100], np.float32), "confidences are above 1"),
    ],
)
def test_what_is_doubtful_is_said(tmp_path, bodies, doubt):
    (remark,) = doubts("f", bodies.astype(np.float32), SIZE)
    np.testing.assert_array_equal(doubts("f", bodies[:5].astype(np.float32), SIZE), [])  # too few
    assert any(part in remark for part in doubt.split("|"))
    assert _read(tmp_path, bodies)[0].remarks == (remark.replace("f:", f"{tmp_path / 'k.npz'}:", 1),)


def test_a_store_is_guarded_as_any_format(tmp_path):
    split = Split("small", tmp_path, (Tracklet(FRAMES, 1, 1),), (), (), (), (256, 128))
    save(tmp_path / "k.npz", FRAMES, _scaled(368 / 256))
    with pytest.raises(InputError, match="outside of their crops"):
        keypoint_table.load(tmp_path / "k.npz", split)
    save(tmp_path / "k.npz", FRAMES, _scaled(0.5))
    assert keypoint_table.load(tmp_path / "k.npz", split).remarks
    with pytest.raises(InputError, match="leave out --units=normalised"):
        formats.read(tmp_path / "k.npz", FRAMES, SIZE, units="normalised")


def test_keypoints_of_prepared_data_are_guarded_too():
    values = _scaled(1 / 128, 1 / 256)
    assert keypoint_table.check_values("f", values, (64, 32)) == []
    assert len(keypoint_table.check_values("f", _scaled(0.5 / 128, 0.5 / 256), (64, 32))) == 1
    wrong = people("aic14", 20) / np.array([128, 256, 1], np.float32)
    with pytest.raises(InputError, match="--skeleton=aic14"):
        keypoint_table.check_values("f", wrong, (64, 32))
