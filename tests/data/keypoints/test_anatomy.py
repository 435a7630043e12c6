"""Skeletons by name and by anatomy: right keypoints, and the right name in the error where another one was taken."""

import json

import numpy as np
import pytest

from rgcn_jax.data.keypoints import anatomy, mmpose, skeletons
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.keypoints.frame_files import read_folder
from rgcn_jax.data.keypoints.openpose import parse_openpose
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import KEYPOINTS, SKELETONS, to_14
from rgcn_jax.types import Split, Tracklet
from tests.data.keypoints.bodies import ORDERS, PLACES, people

CONFUSED = [(a, b) for a in ORDERS for b in SKELETONS if a != b and len(ORDERS[a]) == SKELETONS[b]]
SAME = {("coco17", "posetrack17")}  # in all of the 14 keypoints


@pytest.mark.parametrize("skeleton", ORDERS)
def test_every_skeleton_has_the_14_keypoints_where_they_are(skeleton):
    found = to_14(people(skeleton, 200), skeleton).mean(axis=0)[:, :2] / (128, 256)
    expected = np.array([PLACES["nose" if name == "head" else name] for name in KEYPOINTS])
    # MPII, CrowdPose and AIC have the top of the head in place of a nose.
    assert np.abs(found - expected)[1:].max() < 0.005
    assert np.abs(found - expected)[0].max() < 0.03


@pytest.mark.parametrize("skeleton", ORDERS)
def test_people_fit_their_skeleton(skeleton):
    assert anatomy.check("f", anatomy.sample(people(skeleton, 30), skeleton, named=False)) == []


@pytest.mark.parametrize(("true", "taken"), CONFUSED)
@pytest.mark.parametrize("reported", [False, True])
def test_another_skeleton_is_refused_with_the_name_of_the_likely_one(true, taken, reported):
    bodies = anatomy.sample(people(true, 30), taken, reported)
    if (true, taken) in SAME:
        assert anatomy.check("f", bodies) == []
        return
    with pytest.raises(InputError, match=rf"not people in the skeleton {taken}.*--skeleton={true}\b"):
        anatomy.check("f", bodies)


def test_exchanged_and_inverted_axes_are_named():
    bodies = people("coco17", 30)
    for turned, cause in ((bodies[..., [1, 0, 2]], "x and y exchanged"), (bodies * [1, -1, 1], "on their heads")):
        with pytest.raises(InputError, match=cause):
            anatomy.check("f", anatomy.sample(turned.astype(np.float32), "coco17", named=True))


def test_what_fits_nothing_is_refused_unless_the_skeleton_was_named():
    bodies = people("coco17", 30)[:, np.random.default_rng(1).permutation(17)]
    with pytest.raises(InputError, match="nor in any other skeleton"):
        anatomy.check("f", anatomy.sample(bodies, "coco17", named=False))
    (doubt,) = anatomy.check("f", anatomy.sample(bodies, "coco17", named=True))
    assert "coco17" in doubt


def test_few_bodies_prove_nothing():
    bodies = people("h36m17", anatomy.LEAST_BODIES - 1)
    assert anatomy.measure(to_14(bodies, "coco17")) is None
    assert anatomy.check("f", anatomy.sample(bodies, "coco17", named=False)) == []


@pytest.mark.parametrize(
    ("name", "skeleton"),
    [
        *(("H36M-17", "h36m17"), ("h36m", "h36m17"), ("BODY_25B", "openpose_body25b"), ("coco", "coco17")),
        *(("YOLO-pose", "coco17"), ("MPII", "mpii16"), ("posetrack18", "posetrack17"), ("Halpe-26", "halpe26")),
        *(("COCO-WholeBody", "coco_wholebody133"), ("BlazePose-33", "blazepose33"), ("AIC-14", "aic14")),
        *((name, name) for name in SKELETONS),
    ],
)
def test_names_as_users_write_them(name, skeleton):
    assert skeletons.find(name) == skeleton


def test_an_unknown_name_is_told_all_names():
    with pytest.raises(InputError, match=r"'coco99' is no skeleton.*mpii16"):
        skeletons.find("coco99")


def test_halpe_has_a_neck_of_its_own_unless_it_is_far_from_the_shoulders():
    bodies = people("halpe26", 4)
    bodies[0, 18, :2] += (3, -5)
    bodies[1, 18, :2] = (64, 200)  # at the knees
    bodies[2, 18, 2] = 0
    found = to_14(bodies, "halpe26")
    np.testing.assert_array_equal(found[0, 1], bodies[0, 18])
    np.testing.assert_allclose(found[1, 1, :2], bodies[1, 5:7, :2].mean(axis=0), rtol=1e-6)
    assert not found[2, 1].any()


def test_a_zeroed_keypoint_is_not_detected_and_makes_no_neck():
    bodies = people("coco17", 2)
    bodies[0, [6, 9], :2] = 0  # Ultralytics keeps the confidence
    found = to_14(bodies, "coco17")
    assert not found[0, [1, 2, 7]].any()
    assert found[0, [0, 5, 13]].all()
    assert found[1].all()


def _mmpose(name, bodies):
    entries = [{"keypoints": b[:, :2].tolist(), "keypoint_scores": b[:, 2].tolist()} for b in bodies.astype(float)]
    return json.dumps({"meta_info": {"dataset_name": name}, "instance_info": entries}).encode()


def test_mmpose_names_the_skeleton(tmp_path):
    frames = [f"d/{i:02}.jpg" for i in range(12)]
    for frame, body in zip(frames, people("h36m17", 12), strict=True):
        (tmp_path / f"results_{frame[2:-4]}.json").write_bytes(_mmpose("h36m", body[None]))
    found = read_folder(mmpose.PROGRAM, tmp_path, frames, np.array([[256, 128]]))
    assert found.sample is not None
    assert (found.skeleton, found.sample.named) == ("h36m17", True)
    np.testing.assert_allclose(found.pixels, to_14(people("h36m17", 12), "h36m17"), rtol=1e-6)
    with pytest.raises(InputError, match=r"'h36m' \(h36m17\).*leave out --skeleton=coco17"):
        mmpose.parse_mmpose(_mmpose("h36m", people("h36m17", 1)), "coco17")
    assert mmpose.parse_mmpose(_mmpose("my_own", people("coco17", 1))).keypoints.shape == (1, 17, 3)
    with pytest.raises(InputError, match="--skeleton=crowdpose14"):
        mmpose.parse_mmpose(_mmpose("my_own", people("aic14", 1)))


def test_openpose_before_1_2(tmp_path):
    body = people("coco17", 1)[0, :18].ravel().tolist()
    text = json.dumps({"people": [{"pose_keypoints": [*body, 1.0, 2.0, 0.5]}]}).encode()
    assert parse_openpose(text).keypoints.shape == (1, 18, 3)


def test_a_store_of_another_skeleton_is_refused_when_it_is_opened(tmp_path):
    frames = tuple(f"d/{i:02}.jpg" for i in range(20))
    split = Split("small", tmp_path, (Tracklet(frames, 1, 1),), (), (), (), (256, 128))
    np.savez(tmp_path / "k.npz", names=frames, keypoints=people("crowdpose14", 20))
    with pytest.raises(InputError, match="--skeleton=crowdpose14"):
        keypoint_table.load(tmp_path / "k.npz", split)
    np.savez(tmp_path / "k.npz", names=frames, keypoints=people("crowdpose14", 20), skeleton="CrowdPose")
    values = keypoint_table.load(tmp_path / "k.npz", split).values
    np.testing.assert_allclose(values[..., 2], to_14(people("crowdpose14", 20), "crowdpose14")[..., 2])
