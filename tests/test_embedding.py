"""A trained model away from its data set: loaded, embedding, scored again from a file, on other data, by thresholds."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import rgcn_jax
from rgcn_jax import calibrate, embed, evaluate, main
from rgcn_jax.data.clips import pixels
from rgcn_jax.data.clips.tensorflow_cpu import tf
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.feature_set import FeatureSet, read_features, write_features
from rgcn_jax.evaluation.protocol import test_tracklets as distinct_test_tracklets
from rgcn_jax.model_command import results_path
from rgcn_jax.saved_model import open_model, save_model
from rgcn_jax.walkers import generate
from rgcn_jax.walkers.write import write as write_walkers
from tests import mars_folder
from tests.commands import REPOSITORY, fails

SPEC = replace(mars_folder.SPEC, seed=5, test_identities=8, junk=0)
CHANGED = ("train_identities", "test_identities", "group_size", "cameras", "tracklets_per_camera", "min_frames")
CHANGED += ("max_frames", "distractors", "junk", "seed")
WALKERS = [f"--config.data.walkers.{name}={getattr(SPEC, name)}" for name in CHANGED]
PRECISE: Any = {"rtol": 1e-4, "atol": 1e-6}

pytestmark = pytest.mark.jit


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run whose data set was removed; and walkers of another seed: with labels, and as bare folders."""
    folder = tmp_path_factory.mktemp("world")
    before = Path.cwd()
    os.chdir(REPOSITORY)
    try:
        with jax.disable_jit(False):
            root = mars_folder.write(folder / "MARS")
            main.main(mars_folder.arguments(root, f"--workdir={folder / 'run'}", "--config.evaluation.clips=dense"))
    finally:
        os.chdir(before)
    shutil.rmtree(root)
    walkers = generate(SPEC)
    write_walkers(walkers, folder / "labelled", "folder", 64, 32)
    tracklets, roles = distinct_test_tracklets(walkers.split)
    bare, lines = folder / "bare", []
    written = rgcn_jax_split(folder / "labelled")
    for i, (tracklet, query, gallery) in enumerate(zip(*written, strict=True)):
        name = f"somewhere/t{i:03d}"
        for kind in ("", "openpose"):
            source = (folder / "labelled" / kind / tracklet.frames[0]).parent
            shutil.copytree(source, bare / kind / name)
        role = "both" if query and gallery else "query" if query else "gallery"
        lines.append([name, tracklet.person_id, tracklet.camera_id, role])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["tracklet", "person", "camera", "role"], *lines])
    shutil.move(bare / "openpose", folder / "poses")
    return SimpleNamespace(folder=folder, run=folder / "run", walkers=walkers, tracklets=tracklets, roles=roles)


def rgcn_jax_split(root):
    from rgcn_jax.data.datasets import custom

    tracklets, roles = distinct_test_tracklets(custom.load(root))
    return tracklets, roles.query, roles.gallery


@pytest.fixture(scope="module")
def scored(world):
    """An evaluation of the run on the labelled folder, with the features."""
    file = world.folder / "labelled.npz"
    with jax.disable_jit(False):
        evaluate.main(
            [
                f"--model={world.run}",
                "--dataset=folder",
                f"--root={world.folder / 'labelled'}",
                f"--keypoints={world.folder / 'labelled' / 'openpose'}",
                f"--save-features={file}",
            ]
        )
    return file


def rows(path):
    return json.loads(path.read_text())["protocols"]


@pytest.mark.slow
def test_arrays_in_memory_embed_as_the_data_set_does(world):
    file = world.folder / "walkers.npz"
    evaluate.main([f"--model={world.run}", "--dataset=walkers", *WALKERS, f"--save-features={file}"])
    expected = read_features(file).embeddings
    embedder = rgcn_jax.load(world.run)
    size = embedder.config.frame_size
    frames = [world.walkers.frames(t, *size) for t in world.tracklets[:9]]
    keypoints = [world.walkers.keypoints(t) for t in world.tracklets[:9]]
    found = embedder(frames, keypoints)
    for i, embedding in enumerate(found):
        np.testing.assert_allclose(embedding.appearance, expected.appearance[i], **PRECISE)
        np.testing.assert_allclose(embedding.pose, expected.pose[i], **PRECISE)
        attention: Any = embedding.attention  # None only without a pose branch
        used = attention.frames >= 0
        assert sorted(attention.frames[used]) == list(range(len(frames[i])))
        np.testing.assert_allclose(attention.time[~used], 0)
        np.testing.assert_allclose(attention.time.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(attention.node.sum(axis=1), 1, rtol=1e-5)
    alone = embedder(frames[4], keypoints[4])
    np.testing.assert_allclose(alone.fused, found[4].fused, **PRECISE)
    fused = embedder.features(expected)
    assert embedder.distance(alone, found[0]) == pytest.approx(np.linalg.norm(fused[4] - fused[0]), rel=1e-4)
    matrix = embedder.distance(found, found[:3], row="pose")
    assert matrix.shape == (9, 3)
    assert matrix[4, 0] == pytest.approx(np.linalg.norm(expected.pose[4] - expected.pose[0]), rel=1e-3)
    assert embedder([], []) == []


def test_crops_of_another_size_are_resized_as_in_training(world):
    embedder = rgcn_jax.load(world.run)
    tracklet = world.tracklets[0]
    frames, keypoints = world.walkers.frames(tracklet, 80, 50), world.walkers.keypoints(tracklet)
    resized = np.stack([np.asarray(pixels.fit(tf.constant(frame), *embedder.config.frame_size)) for frame in frames])
    found, expected = embedder(frames, keypoints), embedder(resized, keypoints)
    np.testing.assert_array_equal(found.pose, expected.pose)
    # A grey level of 255 here and there: TensorFlow sums in another order.
    assert np.linalg.norm(found.appearance - expected.appearance) < 0.01 * np.linalg.norm(expected.appearance)


def test_tracklets_without_labels_embed_and_their_file_scores_as_the_labelled_data_set(world, scored, capsys):
    out, results = world.folder / "bare.npz", world.folder / "bare.json"
    where = ["--dataset=folder", f"--root={world.folder / 'bare'}", f"--keypoints={world.folder / 'poses'}"]
    embed.main([f"--model={world.run}", *where, f"--out={out}", "--save-every=7"])
    found = read_features(out)
    assert set(found.embeddings.person_ids.tolist()) == {-2}
    assert found.model == read_features(scored).model == open_model(world.run).hash
    assert "--labels" in fails(evaluate.main, [f"--features={out}"], capsys)
    score = [f"--features={out}", f"--labels={world.folder / 'labels.csv'}", f"--out={results}"]
    for distance in ("euclidean", "standardized"):
        evaluate.main([*score, f"--config.evaluation.distance={distance}"])
        again = world.folder / "again.json"
        evaluate.main([f"--features={scored}", f"--out={again}", f"--config.evaluation.distance={distance}"])
        assert rows(results) == rows(again)
    evaluate.main([*score, "--analysis"])
    analysis = json.loads(results.read_text())["analysis"]
    assert set(analysis["verification"]) == set(analysis["reranking"]) == {"appearance", "pose", "fused"}
    assert analysis["slices"]
    by_model = world.run / "evaluations" / "folder-latest-euclidean-dense.json"
    evaluate.main([*score, "--config.evaluation.distance=euclidean"])
    assert rows(results) == rows(by_model)
    queries = np.load(by_model.with_suffix(".queries.npz"))
    ap = queries["official/fused/mAP"]
    assert np.nanmean(ap) == pytest.approx(rows(by_model)["official"]["fused"]["mAP"])
    assert len(ap) == len(queries["first_frames"]) == world.roles.query.sum()


def test_an_interrupted_embedding_resumes_with_the_same_features(world, scored, tmp_path, capsys):
    root = Path(shutil.copytree(world.folder / "labelled", tmp_path / "labelled"))
    where = ["--dataset=folder", f"--root={root}", f"--keypoints={root / 'openpose'}"]
    arguments = [f"--model={world.run}", *where, f"--out={tmp_path / 'out.npz'}", "--save-every=3"]
    late = root / read_features(scored).first_frames[-2]
    whole = late.read_bytes()
    late.write_bytes(whole[: len(whole) * 3 // 4])  # its header is whole
    assert str(late.name) in fails(embed.main, arguments, capsys)
    assert not (tmp_path / "out.npz").exists()
    parts = tmp_path / ".out.npz.parts"
    assert len(list(parts.glob("*.npz"))) >= 2
    late.write_bytes(whole)
    embed.main(arguments)
    assert "resuming after" in capsys.readouterr().out
    assert not parts.exists()
    expected, found = read_features(scored), read_features(tmp_path / "out.npz")
    assert found.first_frames == expected.first_frames
    np.testing.assert_array_equal(found.embeddings.appearance, expected.embeddings.appearance)
    np.testing.assert_array_equal(found.embeddings.pose, expected.embeddings.pose)


def test_what_cannot_be_embedded_is_one_sentence_and_leaves_nothing(world, tmp_path, capsys):
    run, bare = f"--model={world.run}", f"--root={world.folder / 'bare'}"
    poses = Path(shutil.copytree(world.folder / "poses", tmp_path / "poses"))
    shutil.rmtree(poses / "somewhere" / "t003")
    for arguments, problem in [
        ([run, "--dataset=folder", bare, f"--keypoints={poses}"], "t003"),
        ([run, "--dataset=folder", bare], "keypoints is empty"),
        ([run, "--dataset=mars"], "data.root is empty"),
        ([run, "--dataset=folder", f"--root={tmp_path / 'nowhere'}", f"--keypoints={poses}"], "nowhere"),
        ([f"--model={tmp_path}", "--dataset=folder", bare, f"--keypoints={poses}"], "no model in"),
    ]:
        assert problem in fails(embed.main, [*arguments, f"--out={tmp_path / 'out.npz'}"], capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["poses"]


def test_parts_of_another_model_or_data_set_are_discarded(world, tmp_path, capsys):
    parts = tmp_path / ".out.npz.parts"
    parts.mkdir()
    (parts / "plan.json").write_text("{}")
    (parts / "00000000-00000100.npz").write_bytes(b"")
    root = world.folder / "labelled"
    where = ["--dataset=folder", f"--root={root}", f"--keypoints={root / 'openpose'}"]
    embed.main([f"--model={world.run}", *where, f"--out={tmp_path / 'out.npz'}"])
    assert "discarded" in capsys.readouterr().out
    assert len(read_features(tmp_path / "out.npz").first_frames) == len(world.tracklets)


def test_a_model_folder_is_the_run(world, tmp_path):
    saved = open_model(world.run)
    save_model(tmp_path, saved)
    again = open_model(tmp_path)
    assert (again.hash, again.step, again.config) == (saved.hash, saved.step, saved.config)
    keypoints = np.random.default_rng(0).uniform(0.1, 0.9, (4, 14, 3)).astype(np.float32)
    frames = np.random.default_rng(0).integers(0, 256, (4, 50, 20, 3), dtype=np.uint8)
    a, b = (rgcn_jax.load(path)(frames, keypoints) for path in (world.run, tmp_path))
    np.testing.assert_array_equal(a.fused, b.fused)
    damaged = bytearray((tmp_path / "model.safetensors").read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "model.safetensors").write_bytes(damaged)
    with pytest.raises(InputError, match="checksum"):
        rgcn_jax.load(tmp_path)


def test_thresholds_accept_as_many_pairs_as_was_measured(world, scored, tmp_path, capsys):
    model = Path(shutil.copytree(world.run, tmp_path / "run"))
    plain, a_tracklet = rgcn_jax.load(model), world.tracklets[0]
    one = plain(world.walkers.frames(a_tracklet, 32, 16), world.walkers.keypoints(a_tracklet))
    with pytest.raises(InputError, match="calibrate"):
        plain.same_person(one, one)
    calibrate.main([f"--model={model}", f"--features={scored}", "--resamples=50"])
    assert "TPR at FPR 0.1" in capsys.readouterr().out
    embedder = rgcn_jax.load(model)
    content = json.loads((model / "calibration.json").read_text())["rows"]["fused"]
    kept = [t for t in world.tracklets if t.person_id > 0]
    embeddings = embedder(
        [world.walkers.frames(t, *embedder.config.frame_size) for t in kept],
        [world.walkers.keypoints(t) for t in kept],
    )
    pairs = [(i, j) for i in range(len(kept)) for j in range(i)]
    genuine = [(i, j) for i, j in pairs if kept[i].person_id == kept[j].person_id]
    across = [(i, j) for i, j in genuine if kept[i].camera_id != kept[j].camera_id]
    impostor = [(i, j) for i, j in pairs if kept[i].person_id != kept[j].person_id]
    assert (content["genuine_pairs"], content["impostor_pairs"]) == (len(across), len(impostor))
    accepted = [embedder.same_person(embeddings[i], embeddings[j], fpr=0.1) for i, j in impostor]
    # JPEG files were calibrated on, arrays are compared here: a few pairs near the threshold may change sides.
    assert np.mean(accepted) == pytest.approx(content["tpr_at_fpr"]["0.1"]["fpr"] / 100, abs=0.05)
    with pytest.raises(InputError, match="0.0001"):
        embedder.same_person(embeddings[0], embeddings[1], fpr=1e-4)
    other = rgcn_jax.load(model)
    other.config = replace(other.config, evaluation=replace(other.config.evaluation, distance="normalized"))
    with pytest.raises(InputError, match="normalized"):
        other.same_person(embeddings[0], embeddings[1], fpr=0.1)


@pytest.mark.slow
def test_a_fusion_is_learned_from_training_persons_and_kept_with_the_model(world, tmp_path, capsys):
    model, features, labelled = tmp_path / "model", tmp_path / "f.npz", world.folder / "labelled"
    shutil.copytree(world.run, model)
    data = ["--dataset=folder", f"--root={labelled}", f"--keypoints={labelled / 'openpose'}"]
    calibrated = [f"--model={model}", *data, "--config.evaluation.distance=calibrated"]
    assert "--fusion" in fails(evaluate.main, calibrated, capsys)
    calibrate.main([f"--model={model}", "--fusion", *data])
    learned = json.loads((model / "fusion.json").read_text())
    assert learned["fusion"]["appearance"][1] > 0
    evaluate.main([*calibrated, f"--save-features={features}", f"--out={tmp_path}/model.json"])
    evaluate.main([f"--features={features}", f"--out={tmp_path}/file.json"])
    found = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("model", "file")]
    assert found[0]["distance"] == "calibrated"
    assert found[0]["protocols"] == found[1]["protocols"]
    assert read_features(features).quality is not None
    learned["model"] = "0" * 64
    (model / "fusion.json").write_text(json.dumps(learned))
    assert "other weights" in fails(evaluate.main, calibrated, capsys)
    (model / "fusion.json").write_text("[]")
    assert "not a fusion" in fails(evaluate.main, calibrated, capsys)


def test_a_features_file_of_another_model_is_never_overwritten(world, scored, tmp_path, capsys):
    features = read_features(scored)
    file = tmp_path / "other.npz"
    write_features(file, replace(features, header={**features.header, "model": "of another"}))
    before = file.read_bytes()
    run = [f"--model={world.run}", f"--save-features={file}"]
    assert str(file) in fails(evaluate.main, run, capsys)
    assert str(file) in fails(embed.main, [f"--model={world.run}", f"--out={file}"], capsys)
    (tmp_path / "text.npz").write_text("mine")
    assert "not overwritten" in fails(embed.main, [f"--model={world.run}", f"--out={tmp_path / 'text.npz'}"], capsys)
    assert file.read_bytes() == before
    assert "other weights" in fails(calibrate.main, [f"--model={world.run}", f"--features={file}"], capsys)


def test_a_features_file_without_statistics_scores_but_not_standardized(scored, tmp_path, capsys):
    features = read_features(scored)
    bare = FeatureSet(features.embeddings, features.roles, features.first_frames, features.num_frames)
    write_features(tmp_path / "bare.npz", bare)
    evaluate.main([f"--features={tmp_path / 'bare.npz'}"])
    assert (tmp_path / "evaluations" / "bare.json").is_file()
    arguments = [f"--features={tmp_path / 'bare.npz'}", "--config.evaluation.distance=standardized"]
    assert "statistics" in fails(evaluate.main, arguments, capsys)
    np.savez(tmp_path / "no.npz", a=np.zeros(3))
    assert "is not a features file" in fails(evaluate.main, [f"--features={tmp_path / 'no.npz'}"], capsys)
    assert "expected --model" in fails(evaluate.main, [], capsys)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("somewhere/t999,1,1,query", "names 0 tracklets"),
        ("somewhere/t000,one,1,query", "whole numbers"),
        ("somewhere/t000,1,1,probe", "expected the role"),
        ("somewhere/t000,1,1,query\nsomewhere/t000,2,1,query", "twice"),
    ],
)
def test_wrong_labels_are_one_sentence(world, tmp_path, capsys, line, problem):
    features = FeatureSet(
        *read_features(world.folder / "labelled.npz").take(np.arange(2)).__dict__.values(),
    )
    write_features(tmp_path / "f.npz", replace(features, first_frames=["somewhere/t000/1.jpg", "somewhere/t001/1.jpg"]))
    (tmp_path / "labels.csv").write_text(f"tracklet,person,camera,role\n{line}\n")
    arguments = [f"--features={tmp_path / 'f.npz'}", f"--labels={tmp_path / 'labels.csv'}"]
    assert problem in fails(evaluate.main, arguments, capsys)


def test_wrong_input_of_an_embedder_is_one_sentence(world):
    embedder = rgcn_jax.load(world.run)
    frames, keypoints = np.zeros((2, 8, 4, 3), np.uint8), np.full((2, 14, 3), 0.5, np.float32)
    for wrong, problem in [
        ((frames.astype(float), keypoints), r"float64 \[2, 8, 4, 3\]"),
        ((frames, keypoints[:, :13]), r"\[2, 13, 3\]"),
        ((frames, 100 * keypoints), "normalised coordinates"),
        ((frames, np.nan * keypoints), "NaN"),
        ((frames, keypoints[:1]), "has 2 frames"),
        ((frames,), "expected keypoints"),
        (([frames], [keypoints, keypoints]), "1 tracklets, 2 arrays"),
    ]:
        with pytest.raises(InputError, match=problem):
            embedder(*wrong)
    with pytest.raises(InputError, match="unknown row"):
        embedder.distance(*[embedder(frames, keypoints)] * 2, row="gait")
    with pytest.raises(InputError, match="no model in"):
        rgcn_jax.load(world.folder)


def test_a_run_that_cannot_be_written_to_is_evaluated_beside_the_user(tmp_path, monkeypatch):
    run, here = tmp_path / "run", tmp_path / "here"
    run.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    assert results_path(run, "name", None) == run / "evaluations" / "name.json"
    (tmp_path / "file").write_text("")
    assert results_path(tmp_path / "file", "name", None) == Path("evaluations/name.json")
    with pytest.raises(InputError, match=r"\.json"):
        results_path(run, "name", tmp_path / "x.txt")


def test_a_model_with_a_part_of_ones_own_imports_it_only_where_that_is_allowed(world, tmp_path, monkeypatch, capsys):
    """test_readme.py evaluates one where it is allowed."""
    (tmp_path / "hats.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    run = Path(shutil.copytree(world.run, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["model"]["pose"] = "hats:Hats"
    (run / "config.json").write_text(json.dumps(config))
    for command in (evaluate.main, calibrate.main):
        refused = fails(command, [f"--model={run}"], capsys)
        assert "hats" in refused
        assert "--allow-import=hats" in refused
    with pytest.raises(InputError, match="hats"):
        rgcn_jax.load(run, allow_imports=["hat", "hatsoever", "hats.inner"])
    with pytest.raises(SystemExit, match="imported"):
        rgcn_jax.load(run, allow_imports=["hats"])
