"""Training and evaluation as a user runs them, on a folder in the layout of MARS: train, resume, evaluate again."""

import importlib.metadata
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.core import Tracer

import rgcn_jax
from rgcn_jax import compare, evaluate, main
from rgcn_jax.config_io import load_config_json, typed
from rgcn_jax.data.datasets import mars
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.protocol import test_tracklets as distinct_test_tracklets
from rgcn_jax.models import build
from rgcn_jax.training import run
from rgcn_jax.training import train as training
from rgcn_jax.training.checkpoint import Checkpoints
from rgcn_jax.training.run import prepare
from tests import mars_folder
from tests.commands import REPOSITORY, fails, module

ROWS = ("appearance", "pose", "fused")
NUMBERS = {"mAP", "rank1", "rank5", "rank10", "rank20"}


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return mars_folder.write(tmp_path_factory.mktemp("data") / "MARS")


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A run of four steps, started from a shell: its work directory and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "new" / "run"
    process = module("rgcn_jax.main", *mars_folder.arguments(root, f"--workdir={workdir}"))
    assert process.returncode == 0, process.stderr
    return workdir, process


def records(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [r for r in lines if "loss" in r], [r for r in lines if "fused" in r]


def checkpointed(*workdirs):
    """Everything of the newest checkpoint of each run, as arrays."""
    target = prepare(typed(load_config_json(workdirs[0] / "config.json")), restored=True).state
    for workdir in workdirs:
        with Checkpoints(workdir) as checkpoints:
            found = checkpoints.newest_intact("latest", target)
        assert found is not None
        state = found[0]
        yield jax.device_get(jax.tree.leaves(replace(state, key=jax.random.key_data(state.key))))


@pytest.mark.slow
def test_a_run_writes_its_metrics(finished):
    workdir, process = finished
    training, evaluations = records(workdir)
    assert [r["step"] for r in training] == [1, 2, 3, 4]
    for record in training:
        assert record.keys() >= {"loss", "loss_id", "loss_appearance", "loss_pose", "lambda", "frames_per_second"}
        assert all(np.isfinite(value) for value in record.values())
        assert 0 <= record["lambda"] <= 1
        triplets = record["lambda"] * record["loss_appearance"] + (1 - record["lambda"]) * record["loss_pose"]
        assert record["loss"] == pytest.approx(record["loss_id"] + triplets, rel=1e-5)
    (evaluation,) = evaluations
    assert evaluation["step"] == 4
    for row in ROWS:
        assert evaluation[row].keys() == NUMBERS
        assert all(0 <= value <= 100 for value in evaluation[row].values())
        assert evaluation[row]["rank1"] <= evaluation[row]["rank5"] <= evaluation[row]["rank20"]
    assert "step 4/4" in process.stderr


def test_a_run_writes_its_results_and_prints_them(finished):
    workdir, process = finished
    results = json.loads((workdir / "results.json").read_text())
    (evaluation,) = records(workdir)[1]
    assert results["step"] == 4
    assert results["protocol"] == "official"
    assert results["config"]["model"]["pose"] == "RGCN"
    assert results["versions"]["jax"] == jax.__version__
    assert "tensorflow" in results["versions"]
    assert results["data"]["train"] == {"people": 4, "tracklets": 16, "frames": results["data"]["train"]["frames"]}
    assert results["skipped_steps"] == 0
    assert results["config_changes"] == []
    assert results["hardware"]["devices"] >= 1
    assert results["seconds"]["total"] == pytest.approx(sum(v for k, v in results["seconds"].items() if k != "total"))
    assert "this process took" in process.stdout
    for row in ROWS:
        assert results[row] == results["protocols"]["official"][row] == evaluation[row]
        (printed,) = re.findall(rf"^{row} +([\d. ]+)$", process.stdout, re.MULTILINE)  # too few persons for intervals
        assert [float(v) for v in printed.split()] == pytest.approx(list(results[row].values()), abs=0.051)
    assert set(results["protocols"]) == {"official", "official_matlab", "query_excluded", "junk_kept"}
    assert "16 training tracklets of 4 identities; 8 queries, 17 gallery tracklets" in process.stdout
    assert (workdir / "config.json").is_file()
    assert not list(workdir.glob("*.tmp"))


@pytest.mark.jit
def test_the_same_command_again_resumes_and_finds_nothing_to_do(finished, root, tmp_path, capsys):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    main.main(mars_folder.arguments(root, f"--workdir={workdir}"))
    assert "resuming after step 4" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_text() == (finished[0] / "metrics.jsonl").read_text()
    before, after = (json.loads((w / "results.json").read_text()) for w in (finished[0], workdir))
    assert after["step"] == 4
    assert {row: after[row] for row in ROWS} == {row: before[row] for row in ROWS}


@pytest.mark.jit
def test_another_config_is_refused_unless_that_is_asked_for_and_then_it_is_noted(finished, root, tmp_path, capsys):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    change = mars_folder.arguments(root, f"--workdir={workdir}", "--config.loss.margin=0.5")
    with pytest.raises(InputError, match=r"loss\.margin 0\.3, not 0\.5.*allow_config_change"):
        main.main(change)
    main.main([*change, "--config.allow_config_change"])
    assert "loss.margin was 0.3 and is 0.5" in capsys.readouterr().out
    results = json.loads((workdir / "results.json").read_text())
    assert results["config_changes"] == [{"after_step": 4, "changes": {"loss.margin": [0.3, 0.5]}}]
    assert results["config"]["loss"]["margin"] == 0.5
    main.main(change)  # from now on that is the run's config
    assert json.loads((workdir / "results.json").read_text())["config_changes"] == results["config_changes"]


@pytest.mark.jit
def test_other_keypoints_under_the_same_path_are_refused(finished, root, tmp_path, capsys):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    other = Path(shutil.copytree(root, tmp_path / "other"))
    file = min((other / "openpose" / "bbox_train").rglob("*_keypoints.json"))
    pose = json.loads(file.read_text())
    body = pose["people"][0]["pose_keypoints_2d"]
    body[:] = [value if i % 3 else 0.99 * value for i, value in enumerate(body)]  # x, by a little
    file.write_text(json.dumps(pose))
    command = mars_folder.arguments(other, f"--workdir={workdir}")
    assert "other data: keypoints" in fails(main.main, command, capsys)
    main.main([*command, "--config.allow_config_change"])
    (noted,) = json.loads((workdir / "results.json").read_text())["config_changes"]
    assert [*noted["changes"]] == ["data: keypoints"]


@pytest.mark.jit
def test_a_checkpoint_of_another_run_is_refused_and_other_versions_are_noted(finished, root, tmp_path, capsys):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    inputs = json.loads((workdir / "inputs.json").read_text())
    (workdir / "inputs.json").write_text(json.dumps(inputs | {"ways": ["another"]}))
    command = mars_folder.arguments(root, f"--workdir={workdir}")
    assert "copied from another run" in fails(main.main, command, capsys)
    (workdir / "inputs.json").write_text(json.dumps(inputs | {"versions": inputs["versions"] | {"jax": "0.0"}}))
    main.main(command)
    (noted,) = json.loads((workdir / "results.json").read_text())["config_changes"]
    assert noted["changes"] == {"version of jax": ["0.0", inputs["versions"]["jax"]]}


@pytest.mark.jit
def test_a_resume_needs_neither_the_pretrained_file_nor_first_parameters(finished, root, tmp_path, monkeypatch):
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    abstract = []

    def initialise(*arguments):
        found = build.initialise(*arguments)
        abstract.append(all(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(found)))
        return found

    monkeypatch.setattr(run, "initialise", initialise)
    main.main(mars_folder.arguments(root, f"--workdir={workdir}", "--config.model.pretrained=gone.pth"))
    assert abstract == [True]


@pytest.mark.jit
def test_fewer_steps_than_were_taken_are_refused(finished, root, tmp_path, capsys):
    """Else parameters of step 4 would be called those of step 2."""
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))
    before = {p: p.read_bytes() for p in workdir.iterdir() if p.is_file() and p.name != "lock"}
    reported = fails(main.main, mars_folder.arguments(root, f"--workdir={workdir}", "--config.num_steps=2"), capsys)
    assert "has taken 4 steps, more than the 2 of this config" in reported
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.jit
def test_a_package_that_is_not_installed_ends_no_run_after_its_last_step(finished, root, tmp_path, monkeypatch):
    """A checkout that was never installed has no version among the installed packages."""
    workdir = Path(shutil.copytree(finished[0], tmp_path / "run"))

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    main.main(mars_folder.arguments(root, f"--workdir={workdir}"))
    versions = json.loads((workdir / "results.json").read_text())["versions"]
    assert versions["rgcn_jax"] == rgcn_jax.__version__
    assert versions["optax"] == "unknown"


@pytest.mark.jit
def test_what_results_need_of_the_machine_is_collected_before_the_first_step(finished, root, tmp_path, monkeypatch):
    """Versions, git and hardware may fail to be found, and must not after the training."""
    workdir, order = Path(shutil.copytree(finished[0], tmp_path / "run")), []
    real = training.provenance

    def provenance(split):
        order.append("provenance")
        return real(split)

    def steps(loop, state):
        order.append("steps")
        raise InputError("enough")

    monkeypatch.setattr(training, "provenance", provenance)
    monkeypatch.setattr(training.Loop, "steps", steps)
    with pytest.raises(InputError, match="enough"):
        main.main(mars_folder.arguments(root, f"--workdir={workdir}"))
    assert order == ["provenance", "steps"]


@pytest.mark.jit
@pytest.mark.slow
def test_a_run_that_was_cut_off_resumes_bit_for_bit(root, tmp_path, capsys):
    """Four steps at once, against a run that lost what came after its checkpoint of step 2.

    In one process, for the order in which a CPU sums depends on how its threads are set up.
    """
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    more = "--config.checkpoint_every_steps=2"
    main.main(mars_folder.arguments(root, more, f"--workdir={whole}"))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "latest" / "4")
    shutil.rmtree(cut / "checkpoints" / "best" / "4")
    capsys.readouterr()
    main.main(mars_folder.arguments(root, more, f"--workdir={cut}"))
    assert "resuming after step 2" in capsys.readouterr().out
    (training, evaluation), (expected_training, expected_evaluation) = records(cut), records(whole)
    # Steps 3 and 4 of the run that was cut off are removed: each step is there once, in order.
    assert [(r["step"], r["loss"]) for r in training] == [(r["step"], r["loss"]) for r in expected_training]
    assert evaluation == expected_evaluation
    for a, b in zip(*checkpointed(cut, whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.jit
def test_evaluate_repeats_the_numbers_and_saves_the_features(finished, root, tmp_path, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished[0].rglob("*") if p.is_file()}
    file = tmp_path / "features.npz"
    evaluate.main([f"--workdir={finished[0]}", f"--features={file}", "--config.model.pretrained=moved_away.pth"])
    after = {p: p.stat().st_mtime_ns for p in finished[0].rglob("*") if p.is_file()}
    names = {p.name for p in after.keys() - before.keys()}
    assert names == {f"mars-latest-euclidean-dense.{kind}" for kind in ("json", "queries.npz")}
    assert {p: after[p] for p in before} == before
    printed = capsys.readouterr().out
    table = finished[1].stdout.partition("protocol official")[2].partition("this process took")[0]
    assert table in printed
    tracklets, roles = distinct_test_tracklets(mars.load(root))
    with np.load(file, allow_pickle=False) as features:
        assert features["appearance"].shape == (len(tracklets), 16)
        assert features["pose"].shape == (len(tracklets), 16)
        assert features["person_ids"].tolist() == [t.person_id for t in tracklets]
        assert features["camera_ids"].tolist() == [t.camera_id for t in tracklets]
        assert features["first_frames"].tolist() == [t.frames[0] for t in tracklets]
        np.testing.assert_array_equal(features["is_query"], roles.query)
        np.testing.assert_array_equal(features["is_gallery"], roles.gallery)
        # Rank-1 of the fused row once more, from the file alone.
        fused = np.concatenate([features["appearance"], features["pose"]], axis=1)
        ids, cameras = features["person_ids"], features["camera_ids"]
        hits = []
        for q in np.flatnonzero(features["is_query"]):
            allowed = features["is_gallery"] & ~((ids == ids[q]) & (cameras == cameras[q]))
            distances = np.where(allowed, np.linalg.norm(fused - fused[q], axis=1), np.inf)
            hits.append(ids[distances.argmin()] == ids[q])
    results = json.loads((finished[0] / "results.json").read_text())
    assert results["fused"]["rank1"] == pytest.approx(100 * np.mean(hits))


def test_rows_of_a_run_are_compared(finished, capsys):
    compare.main([str(finished[0]), "--rows=appearance,fused", "--resamples=50"])
    results = json.loads((finished[0] / "results.json").read_text())
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("appearance -> fused mAP"))
    means = [float(value) for value in line.split()[4:6]]
    assert means == pytest.approx([results[row]["mAP"] for row in ("appearance", "fused")], abs=0.051)


@pytest.mark.jit
def test_what_only_shows_when_the_model_is_made_is_one_sentence(finished, root, tmp_path, capsys):
    def message(workdir, *overrides):
        return fails(main.main, mars_folder.arguments(root, f"--workdir={workdir}", *overrides), capsys)

    assert f"no ResNet-50 weights at {Path.cwd()}/absent.pth" in message(
        tmp_path / "new", "--config.model.pretrained=absent.pth"
    )
    assert "loss.appearance_weight is '2'" in message(tmp_path, "--config.loss.appearance_weight=2")
    before = (finished[0] / "config.json").read_text()
    reported = message(finished[0], "--config.model.width=8", "--config.seed=7")
    assert "holds a run with model.width 4, not 8; seed 0, not 7: choose another --workdir" in reported
    assert (finished[0] / "config.json").read_text() == before
    (tmp_path / "file").write_text("")
    assert "cannot be created" in message(tmp_path / "file" / "run")


@pytest.mark.slow
@pytest.mark.jit
def test_divergence_stops_at_once_and_is_not_logged(root, tmp_path):
    overrides = ("--config.optimizer.learning_rate=1e30", "--config.checkpoint_every_steps=1")
    arguments = mars_folder.arguments(root, f"--workdir={tmp_path}", *overrides)
    with pytest.raises(InputError, match="step 2 .* nan.*optimizer.learning_rate"):
        main.main(arguments)
    listed = json.loads((tmp_path / "nonfinite" / "step-2.json").read_text())
    assert "nan" in listed.values()
    assert len(listed["clips"]) == 4
    assert all((Path(root) / clip["first_frame"]).is_file() for clip in listed["clips"])
    training, evaluations = records(tmp_path)
    assert [r["step"] for r in training] == [1]
    assert not evaluations
    assert [p.name for p in (tmp_path / "checkpoints" / "latest").iterdir()] == ["1"]


def test_evaluate_without_a_run_is_one_sentence(finished, root, tmp_path, capsys):
    def message(*arguments):
        return fails(evaluate.main, arguments, capsys)

    assert f"no model in {tmp_path}: expected the folder of a run" in message(f"--workdir={tmp_path}")
    run = f"--workdir={finished[0]}"
    assert ".npz" in message(run, "--features=x.csv")
    assert "the folder nowhere does not exist" in message(run, "--features=nowhere/x.npz")
    assert "unknown config field 'evaluation.dist'" in message(run, "--config.evaluation.dist=cosine")
    (tmp_path / "config.json").write_text('{"seed": 0,')
    assert "config.json is not the config of a run" in message(f"--workdir={tmp_path}")


def test_evaluate_of_a_run_without_checkpoints_is_one_sentence(finished, tmp_path, capsys):
    shutil.copy(finished[0] / "config.json", tmp_path)
    error = fails(evaluate.main, [f"--workdir={tmp_path}"], capsys)
    assert f"no 'latest' checkpoint in {tmp_path}/checkpoints/latest: train first" in error
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
