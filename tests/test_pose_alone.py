"""A model without an appearance branch: trained, resumed, evaluated and loaded without any frame."""

import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgcn_jax
from rgcn_jax import evaluate, main, parallel
from rgcn_jax.config import DataConfig, LossConfig
from rgcn_jax.data.clips.sampling import evaluation_plans
from rgcn_jax.data.load import open_data
from rgcn_jax.errors import InputError
from rgcn_jax.models import pose_features
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.training.state import count_parameters
from rgcn_jax.walkers import WalkersSpec
from rgcn_jax.walkers.generation import Walkers
from tests import mars_folder, tiny

NONE = tiny.FIELDS | {"appearance": "none", "pose_norm": True, "pose_fill": True, "keypoint_embedding": 2}


def test_the_parameters_are_those_of_the_pose_branch_and_its_classifier():
    model = build_model(NONE, tiny.IDENTITIES, aspect=0.5)
    variables = jax.eval_shape(lambda: initialise(model, 0, tiny.FRAMES, 0))
    assert set(variables["params"]) == {"pose", "readout", "keypoint_embedding", "neck_pose", "classifier"}
    pose, n = 4 * 8 + 8 * 8 + 8 + 2 * 8, 16
    assert count_parameters(variables["params"]) == pose + 14 * 2 + n + (n + 1) * tiny.IDENTITIES
    assert set(variables["batch_stats"]) == {"pose_norm", "statistics_pose"}
    with pytest.raises(ValueError, match="found neither"):
        initialise(model.clone(pose=None, readout=None), 0, tiny.FRAMES, 0)


@pytest.mark.jit
def test_the_pose_feature_of_a_whole_model_needs_no_frame_and_no_appearance():
    model, batch = build_model(NONE | {"appearance": "precomputed"}, tiny.IDENTITIES, aspect=0.5), tiny.batch()
    variables, f_a = initialise(model, 0, tiny.FRAMES, 3), jnp.ones((8, 3))
    out = jax.jit(model.apply)(variables, f_a, batch["keypoints"], batch["frame_mask"])
    of_pose = {
        kind: {name: leaf for name, leaf in leaves.items() if "appearance" not in name and name != "classifier"}
        for kind, leaves in variables.items()
    }
    alone = jax.jit(lambda *inputs: pose_features(model, of_pose, *inputs))
    np.testing.assert_allclose(alone(batch["keypoints"], batch["frame_mask"]), out.pose, atol=1e-6)
    full = batch["keypoints"][1:]  # the first clip has a masked frame
    np.testing.assert_allclose(alone(full), out.pose[1:], atol=1e-6)
    with pytest.raises(ValueError, match="aspect=width / height"):
        pose_features(model.clone(aspect=None), of_pose, batch["keypoints"])


@pytest.mark.jit
@pytest.mark.parametrize("devices", [1, 2])
def test_the_objective_has_no_appearance_triplet(devices):
    batch = tiny.batch() | {"frames": np.zeros((8, 0), np.float32)}
    state, step, mesh = tiny.start(devices, objective=LossConfig(margin="soft", pose_triplet="neck"), appearance="none")
    _, metrics = step(state, parallel.shard(batch, mesh))
    assert float(metrics["lambda"]) == float(metrics["loss_appearance"]) == 0
    assert metrics["loss_pose"] > 0
    assert float(metrics["loss"]) == pytest.approx(float(metrics["loss_id"] + metrics["loss_pose"]), rel=1e-6)


@pytest.mark.slow
@pytest.mark.jit
def test_a_run_on_walkers_renders_no_frame(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Walkers, "frames", lambda *_: pytest.fail("a frame was rendered"))
    sizes = [f"--config.data.walkers.{name}={value}" for name, value in asdict(mars_folder.SPEC).items()]
    tiny_run = [argument for argument in mars_folder.TINY if "model.width" not in argument and "stage" not in argument]
    workdir = tmp_path / "run"
    arguments = ["--config=walkers_pose", f"--workdir={workdir}", *sizes, *tiny_run, "--config.evaluation.clips=full"]
    main.main([*arguments, "--config.num_steps=2"])
    main.main(arguments)
    assert "resuming after step 2" in capsys.readouterr().out
    results = json.loads((workdir / "results.json").read_text())
    assert {"appearance", "pose", "fused"} & set(results) == {"pose"}
    evaluate.main([f"--model={workdir}"])
    assert "pose " in capsys.readouterr().out
    embedder = rgcn_jax.load(workdir)
    keypoints = np.random.default_rng(0).uniform(0.2, 0.8, (5, 14, 3)).astype(np.float32)
    one, (other,) = embedder(None, keypoints), embedder(None, [keypoints])
    assert one.appearance.shape == (0,)
    assert one.attention.frames.tolist() == [[0, 1, 2, 3, 4, -1]]
    many = embedder(None, [keypoints[:2], np.tile(keypoints, (3, 1, 1))])
    assert [len(e.attention.frames[0][e.attention.frames[0] >= 0]) for e in many] == [2, 15]
    np.testing.assert_allclose(one.pose, other.pose, atol=1e-6)
    assert embedder.distance(one, other) < 1e-3
    with pytest.raises(InputError, match="expected keypoints"):
        embedder(np.zeros((5, 8, 4, 3), np.uint8))


@pytest.mark.jit
def test_no_image_of_a_folder_is_read(tmp_path):
    root = mars_folder.write(tmp_path / "MARS")
    for image in root.rglob("*.jpg"):
        image.write_bytes(image.read_bytes()[:700])  # little more than the header, which has the crop's size
    workdir = tmp_path / "run"
    none = ["--config.model.appearance=none", f"--workdir={workdir}", "--config.num_steps=1"]
    main.main(mars_folder.arguments(root, *none))
    assert "pose" in json.loads((workdir / "results.json").read_text())


def test_keypoints_alone_are_those_of_the_whole_data_set():
    spec = WalkersSpec(**{**asdict(mars_folder.SPEC), "distractors": 0})
    data = DataConfig(name="walkers", walkers=spec)
    alone, whole = (open_data(data, (16, 8), True, with_frames=frames) for frames in (False, True))
    assert alone.read_keypoints is not None
    assert whole.read_keypoints is not None
    plans = list(evaluation_plans(alone.split.query, clips="dense", frames_per_clip=3, clips_per_batch=4))
    for a, b, c in zip(alone.read(plans), whole.read(plans), whole.read_keypoints(plans), strict=True):
        assert a["frames"].shape == c["frames"].shape == (4, 0)
        for name in ("keypoints", "frame_mask", "index"):
            np.testing.assert_array_equal(a[name], b[name])
            np.testing.assert_array_equal(c[name], b[name])
