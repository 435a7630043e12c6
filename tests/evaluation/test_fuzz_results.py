"""Features, scores and records of sweeps, damaged: read, or refused by an ``InputError``, and nothing else."""

import json

import numpy as np

from rgcn_jax.config_io import packaged_config, typed
from rgcn_jax.embedding_parts import EmbeddingParts
from rgcn_jax.evaluation.attributes import _read_lines, shared_outfits
from rgcn_jax.evaluation.embed import TrackletFeature
from rgcn_jax.evaluation.feature_set import read_features, with_labels
from rgcn_jax.experiments import results_table
from rgcn_jax.experiments.cells import Cell
from rgcn_jax.experiments.comparison import METRICS, as_json, compare, differing, group
from rgcn_jax.experiments.robustness import METRICS as CURVES
from rgcn_jax.experiments.robustness import read_robustness, write_robustness
from rgcn_jax.experiments.scored_run import load_scored_run
from rgcn_jax.experiments.sweep import read_record, record, total_seconds
from rgcn_jax.experiments.table import Column
from rgcn_jax.report.charts import robustness_charts
from rgcn_jax.runtime.json_lines import append_json_line
from tests.fuzzing import damaged_files_test, spoilt_arrays, spoilt_bytes, spoilt_json, spoilt_lines


def features(folder):
    header = {"format": "rgcn_jax features", "version": 1, "model": "a", "look_alikes": [[1, 2]], "config": {"seed": 1}}
    arrays = {
        "appearance": np.ones((3, 4), np.float32), "pose": np.ones((3, 2), np.float32), "person_ids": np.arange(3),
        "camera_ids": np.arange(3), "first_frames": np.array(["a/1.jpg", "b/1.jpg", "c/1.jpg"]),
        "num_frames": np.ones(3, int), "is_query": np.ones(3, bool), "is_gallery": np.ones(3, bool),
        "is_junk": np.zeros(3, bool), "clothes_ids": np.ones(3, int), "keypoint_share": np.ones(3, np.float32),
        "keypoint_confidence": np.ones(3, np.float32), "mean_a": np.zeros(4), "std_a": np.ones(4),
        "mean_p": np.zeros(2), "std_p": np.ones(2), "header": np.array(json.dumps(header)),
    }  # fmt: skip
    np.savez(folder / "f.npz", **arrays)

    def read():
        found = read_features(folder / "f.npz")
        ids, clothes = found.embeddings.person_ids, found.embeddings.clothes_ids
        assert clothes is not None
        shared_outfits(found.header.get("look_alikes", []), ids, clothes)
        assert len(found.tracklets) == len(found.take(np.ones(len(ids), bool)).first_frames)

    return folder / "f.npz", read


def labels(folder):
    file, _ = features(folder)
    known = read_features(file)
    (folder / "labels.csv").write_text("tracklet,person,camera,role\na,1,2,query\nb/1.jpg,-1,2,gallery\n")
    return folder / "labels.csv", lambda: with_labels(known, folder / "labels.csv")


def scored(folder):
    config = {"data": {"name": "walkers", "split": 1, "walkers": {"seed": 0}}, "seed": 0}
    (folder / "results.json").write_text(json.dumps({"protocol": "official", "config": config}))
    scores = {f"official/fused/{name}": np.linspace(0, 100, 6) for name in (*METRICS, "first_match")}
    names = {"first_frames": np.array(list("abcdef")), "person_ids": np.repeat([1, 2, 3], 2), "camera_ids": np.ones(6)}
    np.savez(folder / "results.queries.npz", **scores, **names)

    def read():
        run = load_scored_run(folder)
        assert len(group([run, run])) == 1
        differing(run, run)
        rows = [("fused", "fused")]
        json.dumps(as_json(compare([(run, run)], rows, run.protocol, 10), run, run))
        assert run.repetition in {run.repetition: 1}

    return folder / "results.json", read


def scores(folder):
    _, read = scored(folder)
    return folder / "results.queries.npz", read


def robustness(folder):
    metrics = dict.fromkeys(CURVES, 50.0) | {"intervals": {"mAP": [40.0, 60.0], "rank1": None}}
    metrics |= {"valid_queries": 6, "persons": 3}
    points = [{"level": level, "rows": {"fused": metrics, "pose": metrics}} for level in (0.0, 0.5, None)]
    found = {"header": {"model": "a"}, "curves": {"missed": {"unit": "share", "points": points}}}
    write_robustness(folder / "robustness.json", found)

    def read():
        found = read_robustness(folder / "robustness.json")
        robustness_charts(found["curves"])
        write_robustness(folder / "other.json", found)

    return folder / "robustness.json", read


def sweep(folder):
    record(folder, "walkers", ["--config.seed=1"], [(0, 1), (1, 1)])

    def read():
        read_record(folder)
        record(folder, "mars", [], [(3, 1)])
        record(folder, "walkers", [], [(3, 1)])

    return folder / "sweep.json", read


def cell(folder):
    found = typed(packaged_config("walkers"), lambda _: None)
    content = {"config": found.to_dict(), "fused": {"mAP": 50.0, "rank1": 60.0}, "pose": {"mAP": 40.0, "rank1": 50.0}}
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "results.queries.npz").write_bytes(b"")
    one = Cell("RGCN", "walkers", found, folder)
    columns = [Column("walkers", metric, of) for of in ("fused", "pose") for metric in ("mAP", "rank1")]

    def read():
        for column in columns:
            value = results_table._value(one, column)
            assert value is None or f"{value:.1f}"

    return folder / "results.json", read


def seconds(folder):
    for number in (1.5, 2.5):
        append_json_line(folder / "seconds.jsonl", {"seconds": number})
    return folder / "seconds.jsonl", lambda: total_seconds(folder)


def parts(folder):
    plan = {"model": "a"}
    before = EmbeddingParts(folder / "f.npz", plan)
    for start in (0, 2):
        rows = [TrackletFeature(start + i, np.ones(3, np.float32), np.ones(2, np.float32)) for i in range(2)]
        before.add(rows)

    def read():
        found = EmbeddingParts(folder / "f.npz", plan)
        assert found.done == len([*found.read()]) == 4

    return folder / ".f.npz.parts" / "00000002-00000004.npz", read


def attributes(folder):
    (folder / "a.csv").write_text("person-id,camera,tracklet,top,bottom\n1,1,1,3,4\n1,2,1,3,4\n")
    return folder / "a.csv", lambda: _read_lines(folder / "a.csv")


READERS = {
    "features": (features, spoilt_arrays),
    "labels": (labels, spoilt_bytes),
    "attributes": (attributes, spoilt_bytes),
    "results of a scored run": (scored, spoilt_json),
    "scores of a scored run": (scores, spoilt_arrays),
    "robustness": (robustness, spoilt_json),
    "record of a sweep": (sweep, spoilt_json),
    "results of a cell": (cell, spoilt_json),
    "seconds of a sweep": (seconds, spoilt_lines),
    "parts of an embedding": (parts, spoilt_arrays),
}

test_a_damaged_file_is_read_or_refused = damaged_files_test(READERS)
