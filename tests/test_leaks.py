"""Nothing but pixels and keypoints reaches a feature: with shuffled identities every row scores at chance.

The ids of some walkers are permuted among their tracklets, within the training set and within the test set; frames and
keypoints stay, frame names and cameras follow the new ids. A model is trained and scored on that. Had it any way to see
an id, a camera or a name, it would find the shuffled ids again. That a leak would be seen is tested too.
"""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.config import Config, EvaluationConfig, LossConfig
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import IdentitySampler
from rgcn_jax.evaluation.rank_protocols import evaluate_protocols
from rgcn_jax.evaluation.scorer import Scorer
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.training.optim import adam_coupled_l2, step_schedule
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step
from rgcn_jax.types import Embeddings
from rgcn_jax.walkers import WalkersSpec, generate
from tests import tiny

FRAMES, HEIGHT, WIDTH, STEPS = 4, 32, 16, 60
SETTINGS = EvaluationConfig(clips="even", clips_per_batch=16, distance="normalized")


def renamed(tracklets, ids, cameras):
    """Tracklets with other ids, cameras and, as these are in them, other frame names; their order and lengths stay."""
    return [
        replace(
            t,
            person_id=person,
            camera_id=camera,
            frames=tuple(f"{person:04}C{camera}T{n:04}F{f:03}.jpg" for f in range(len(t.frames))),
        )
        for n, (t, person, camera) in enumerate(zip(tracklets, ids, cameras, strict=True))
    ]


@pytest.fixture(scope="module")
def world():
    """The shuffled data, the features of a model trained on them, and what is needed to ask again."""
    spec = WalkersSpec(
        train_identities=12,
        test_identities=24,
        group_size=2,
        cameras=3,
        min_frames=2,  # under FRAMES: short tracklets are completed and masked, and this must not show
        max_frames=6,
        distractors=0,
        junk=0,
        seed=5,
    )
    walkers = generate(spec)
    rng = np.random.default_rng(0)
    original, splits = {}, {}
    for name, tracklets in (("train", walkers.split.train), ("gallery", walkers.split.gallery)):
        order = rng.permutation(len(tracklets))
        # An id goes with the camera it had, so that every query keeps as many matches as it had.
        given = [(tracklets[i].person_id, tracklets[i].camera_id) for i in order]
        splits[name] = renamed(tracklets, *zip(*given, strict=True))
        original |= dict(zip(splits[name], tracklets, strict=True))
    # A query of each id in each camera, as before.
    queries = {(t.person_id, t.camera_id): t for t in splits["gallery"]}
    assert len(queries) == len(walkers.split.query)
    split = replace(
        walkers.split, train=tuple(splits["train"]), query=tuple(queries.values()), gallery=tuple(splits["gallery"])
    )
    source = CachedSource(
        lambda t: walkers.frames(original[t], HEIGHT, WIDTH), lambda t: walkers.keypoints(original[t])
    )
    mesh = parallel.make_mesh(1)
    sampler = IdentitySampler(
        split.train,
        identities=6,
        clips_per_identity=4,
        frames_per_clip=FRAMES,
        max_frame_stride=1,
        augmentation=Augmentation(),
        seed=0,
    )
    classes = len(sampler.person_ids)
    fields = tiny.FIELDS | {"pose_input": "crop", "width": 8, "pose_features": 32}
    evaluated = build_model(fields, classes)
    optimizer = adam_coupled_l2(step_schedule(1e-3, 0.1, 0), 5e-4)
    variables = initialise(evaluated, 0, FRAMES, HEIGHT, WIDTH)
    state = parallel.replicate(create_state(variables, optimizer, 0), mesh)
    step = make_train_step(build_model(fields, classes, "float32", parallel.AXIS), optimizer, LossConfig(), mesh)
    for batch in MemoryReader(partial(read_batch, source=source))(sampler.plans(0, STEPS)):
        state, _ = step(state, parallel.shard(batch, mesh))

    def scorer(data_split, data_source):
        data = Data(data_split, MemoryReader(partial(read_batch, source=data_source)), (HEIGHT, WIDTH))
        return Scorer(Config(frames_per_clip=FRAMES, evaluation=SETTINGS), evaluated, data, mesh)

    evaluation = scorer(split, source).evaluate(state.variables, STEPS)
    return SimpleNamespace(
        split=split,
        source=source,
        original=original,
        scorer=scorer,
        variables=jax.device_get(state.variables),
        evaluation=evaluation,
    )


def scores(embeddings, roles):
    """Row -> (mAP, Rank-1) as fractions."""
    rows = evaluate_protocols(embeddings, roles, kind="normalized")["official"]
    found = {}
    for row, metrics in rows.items():
        assert metrics is not None, row
        found[row] = np.array([metrics.mAP, metrics.cmc[0]])
    return found


def chance(embeddings, roles, draws=100):
    """Mean and standard deviation of (mAP, Rank-1) of rankings that know nothing: the ids are dealt out anew.

    The features keep their real crowding, by which one lucky query makes its neighbours lucky too: random features
    would understate the spread.
    """
    rng = np.random.default_rng(1)
    found = {"appearance": [], "pose": [], "fused": []}
    n = len(embeddings.person_ids)
    for _ in range(draws):
        order = rng.permutation(n)
        dealt = embeddings._replace(appearance=embeddings.appearance[order], pose=embeddings.pose[order])
        for row, values in scores(dealt, roles).items():
            found[row].append(values)
    return {row: (np.mean(values, axis=0), np.std(values, axis=0)) for row, values in found.items()}


@pytest.mark.jit
@pytest.mark.slow
def test_with_shuffled_identities_every_row_scores_at_chance(world):
    embeddings, roles = world.evaluation.features.embeddings, world.evaluation.features.roles
    expected = chance(embeddings, roles)
    rng = np.random.default_rng(2)
    appearance, pose = (rng.standard_normal(f.shape, np.float32) for f in embeddings[:2])
    noise = Embeddings(appearance, pose, embeddings.person_ids, embeddings.camera_ids)
    for row, (mean, std) in expected.items():
        found = scores(embeddings, roles)[row]
        assert (np.abs(found - mean) < 4 * std).all(), f"{row}: {found}, by chance {mean} +- {std}"
        assert (np.abs(scores(noise, roles)[row] - mean) < 4 * std).all()
        assert world.evaluation.chance_rank1 / 100 == pytest.approx(mean[1], abs=4 * std[1] / np.sqrt(100) + 0.005)


@pytest.mark.jit
def test_a_leak_would_have_been_seen(world):
    """The same appearance knows the true people, at least their outfits; a trace of the ids in f_p shows in its row."""
    embeddings, roles = world.evaluation.features.embeddings, world.evaluation.features.roles
    expected = chance(embeddings, roles)
    true = [world.original[t] for t in world.scorer(world.split, world.source).tracklets]
    with_true_ids = embeddings._replace(
        person_ids=np.array([t.person_id for t in true], np.int32),
        camera_ids=np.array([t.camera_id for t in true], np.int32),
    )
    mean, std = expected["appearance"]
    assert (scores(with_true_ids, roles)["appearance"] > mean + 6 * std).all()
    rng = np.random.default_rng(3)
    code = rng.standard_normal((1000, embeddings.pose.shape[1]), np.float32)
    leaking = embeddings._replace(pose=embeddings.pose + 0.3 * embeddings.pose.std() * code[embeddings.person_ids])
    mean, std = expected["pose"]
    assert (scores(leaking, roles)["pose"] > mean + 4 * std).all()


@pytest.mark.jit
def test_features_do_not_depend_on_ids_cameras_or_names(world):
    """All tracklets renamed, in the same order: the very same features."""
    tracklets = world.split.gallery
    ids, cameras = [900 - 7 * (i % 40) for i in range(len(tracklets))], [1 + i % 6 for i in range(len(tracklets))]
    others = renamed(tracklets, ids, cameras)
    back = dict(zip(others, tracklets, strict=True))
    source = CachedSource(lambda t: world.source.frames(back[t]), lambda t: world.source.of(back[t]))
    split = replace(world.split, query=tuple(others[:40]), gallery=tuple(others))
    again = world.scorer(split, source).embed(world.variables)
    same = world.scorer(world.split, world.source).embed(world.variables)
    assert again.person_ids.tolist() == ids
    np.testing.assert_array_equal(again.appearance, same.appearance)
    np.testing.assert_array_equal(again.pose, same.pose)
    np.testing.assert_array_equal(same.appearance, world.evaluation.features.embeddings.appearance)
