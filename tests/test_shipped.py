"""The model of the package: embeds keypoints without training, begins a training, and is calibrated elsewhere."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import rgcn_jax
from rgcn_jax import calibrate, embed, main
from rgcn_jax.config_io import load_config_file, override, packaged_config, typed
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.scorer import model_from_config
from rgcn_jax.models.build import initialise
from rgcn_jax.parallel import make_mesh
from rgcn_jax.saved_model import open_model
from rgcn_jax.shipped import SHIPPED, is_shipped, model_path
from rgcn_jax.training.pose_pretrained import TAKEN, init_pose_branch
from rgcn_jax.walkers import WalkersSpec, generate
from tests import mars_folder
from tests.test_architecture import REPOSITORY

GAIT = "walkers-gait"
FOLDER = REPOSITORY / "rgcn_jax" / "shipped" / GAIT


@pytest.fixture(scope="module")
def saved():
    return open_model(GAIT)


def fresh(*changes):
    """A config with the pose fields of the package's model, and its model's variables, all of them 9."""
    config = typed(override(packaged_config("walkers_gait"), [f"--config.model.{change}" for change in changes]))
    shapes = jax.eval_shape(lambda: initialise(model_from_config(config, 5, make_mesh(1)), 1, 4, 0))
    return config, jax.tree.map(lambda leaf: np.full(leaf.shape, 9, np.float32), shapes)


def test_it_is_small_and_of_the_kept_config(saved):
    assert {file.name for file in FOLDER.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1_000_000
    assert saved.path == FOLDER
    kept = typed(load_config_file(str(REPOSITORY / "configs" / "walkers_gait.py")))
    assert saved.config.model == kept.model
    assert saved.config.data.walkers == kept.data.walkers
    assert saved.config.augment == kept.augment
    assert saved.config.num_epochs == kept.num_epochs
    card = (FOLDER / "README.md").read_text()
    assert saved.hash in card


def test_its_config_has_every_field(capsys):
    open_model(GAIT)
    assert "lacks" not in capsys.readouterr().out


def test_a_folder_of_the_same_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert SHIPPED == (GAIT,)
    assert model_path(GAIT) == FOLDER
    assert is_shipped(GAIT)
    assert model_path("runs/mars") == Path("runs/mars")
    (tmp_path / GAIT).mkdir()
    assert model_path(GAIT) == Path(GAIT)
    assert not is_shipped(GAIT)
    with pytest.raises(InputError, match=rf"no model in {GAIT}: .*found an empty folder"):
        rgcn_jax.load(GAIT)


@pytest.mark.jit
def test_it_tells_people_apart_whom_nobody_trained_on():
    walkers = generate(
        WalkersSpec(
            train_identities=1, test_identities=12, group_size=1, cameras=3, views="round", distractors=0, seed=98
        )
    )
    tracklets = [t for t in walkers.split.gallery if t.camera_id in (1, 3)]
    embedder = rgcn_jax.load(GAIT)
    embeddings = embedder(None, [walkers.keypoints(t) for t in tracklets])
    assert embeddings[0].pose.shape == (embedder.config.model.pose_features,)
    people, cameras = (np.array([getattr(t, n) for t in tracklets]) for n in ("person_id", "camera_id"))
    distances = embedder.distance(embeddings, embeddings, row="pose")
    pairs = cameras[:, None] < cameras[None]
    same, others = (distances[pairs & m] for m in (people[:, None] == people, people[:, None] != people))
    # From the front and from behind: chance is 0.5.
    assert np.mean(same[:, None] < others[None]) > 0.85


@pytest.mark.parametrize("source", [GAIT, "folder"])
def test_a_training_begins_with_its_pose_branch_and_nothing_else(saved, source, tmp_path):
    reported = []
    config, variables = fresh()
    if source == "folder":
        for name in ("config.json", "model.safetensors"):
            (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
        source = str(tmp_path)
    found, origin = init_pose_branch(variables, source, config.model, reported.append)
    before: dict[str, Any] = flatten_dict(variables, sep="/")
    theirs: dict[str, Any] = flatten_dict(saved.variables, sep="/")
    after: dict[str, Any] = flatten_dict(found, sep="/")
    assert before.keys() == after.keys()
    for name, leaf in after.items():
        np.testing.assert_array_equal(leaf, (theirs if name.startswith(TAKEN) else before)[name], err_msg=name)
    taken = {name.split("/")[1] for name in after if name.startswith(TAKEN)}
    assert taken == {"pose", "readout", "keypoint_embedding", "pose_norm"}
    assert origin == {"checkpoint": "folder", "step": saved.step, "sha256": saved.hash}
    assert len(reported) == 1


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("pose_features=64", ["params/pose/W_h is float32[64, 64], expected float32[32, 32]"]),
        ("keypoint_embedding=0", ["params/keypoint_embedding is float32[14, 8], expected no such parameter"]),
        ("pose_norm=False", ["batch_stats/pose_norm/count is float32[14], expected no such parameter"]),
        ("graph_self=False", ["params/pose/W_x1 is", "--config.model.graph_self=True"]),
    ],
)
def test_another_pose_branch_is_refused_with_the_shapes(change, names):
    config, variables = fresh(change)
    with pytest.raises(InputError) as refused:
        init_pose_branch(variables, GAIT, config.model, print)
    for name in names:
        assert name in str(refused.value)


def test_what_shows_in_no_shape_is_said():
    reported = []
    config, variables = fresh("pose_input=crop")
    init_pose_branch(variables, GAIT, config.model, reported.append)
    assert "model.pose_input is 'crop'" in reported[0]


def test_a_source_that_is_none_and_rules_between_the_fields(tmp_path):
    config, variables = fresh()
    with pytest.raises(InputError, match=r"model\.pose_pretrained .*nowhere.*walkers-gait"):
        init_pose_branch(variables, str(tmp_path / "nowhere"), config.model, print)
    for other in ("init_from=runs/mars", "pose=none"):
        arguments = ["--config.model.pose_pretrained=walkers-gait", f"--config.model.{other}"]
        with pytest.raises(InputError, match=r"model\.pose_pretrained is 'walkers-gait'"):
            typed(override(packaged_config("walkers"), arguments))


@pytest.mark.jit
@pytest.mark.slow
def test_the_commands_take_its_name(saved, tmp_path, monkeypatch, capsys):
    """Training with it, embedding by it, and calibrating, which writes nothing into the package."""
    monkeypatch.chdir(tmp_path)
    people = {"train_identities": 4, "test_identities": 4, "cameras": 2, "min_frames": 3, "max_frames": 5}
    sizes = [f"--config.data.walkers.{name}={value}" for name, value in people.items()]
    few = [a for a in mars_folder.TINY if not any(word in a for word in ("width", "stage", "pose_", "embedding"))]
    own = ["--config=walkers_gait", "--workdir=run", "--config.model.pose_pretrained=walkers-gait"]
    main.main([*own, *few, *sizes, "--config.num_steps=1", "--config.batch.identities=2"])
    assert f"pose branch from {GAIT}" in capsys.readouterr().out
    origin = json.loads((tmp_path / "run" / "results.json").read_text())["init_from"]
    assert origin == {"checkpoint": "folder", "step": saved.step, "sha256": saved.hash}
    embed.main([f"--model={GAIT}", "--out=features.npz", *sizes, "--config.data.walkers.distractors=0"])
    with np.load("features.npz") as features:
        assert features["pose"].shape[1] == saved.config.model.pose_features
    with pytest.raises(InputError, match="rgcn-jax export --model=walkers-gait"):
        calibrate.main([f"--model={GAIT}", "--features=features.npz"])
    calibrate.main([f"--model={GAIT}", "--features=features.npz", "--out=thresholds.json", "--resamples=0"])
    assert (tmp_path / "thresholds.json").is_file()
    assert not (FOLDER / "calibration.json").exists()
    with np.load("features.npz") as features:
        np.savez("one_camera.npz", **dict(features) | {"camera_ids": np.ones_like(features["camera_ids"])})
    arguments = [f"--model={GAIT}", "--features=one_camera.npz", "--out=one_camera.json", "--resamples=0"]
    with pytest.raises(InputError, match="protocol=same_camera_allowed"):
        calibrate.main(arguments)
    calibrate.main([*arguments, "--config.evaluation.protocol=same_camera_allowed"])
    assert (tmp_path / "one_camera.json").is_file()
