"""Files of a run or a model folder, damaged: read, or refused by an ``InputError``, and nothing else."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rgcn_jax.calibration import Calibration, read_calibration, read_fusion, write_calibration, write_fusion
from rgcn_jax.config import Config, DataConfig, EvaluationConfig
from rgcn_jax.config_io import load_config_json, save_config
from rgcn_jax.evaluation.calibrated import Fusion
from rgcn_jax.export.model_card import model_card, results_of
from rgcn_jax.report.charts import training_chart
from rgcn_jax.runtime.checksum import host_leaves
from rgcn_jax.runtime.json_lines import append_json_line, read_json_lines
from rgcn_jax.runtime.provenance import note_changes, noted_changes
from rgcn_jax.training.inputs import Inputs, read_inputs, write_inputs
from rgcn_jax.training.model_folder import read_model_folder, write_model_folder
from rgcn_jax.training.state import variables_hash
from rgcn_jax.training.tracker import _known_runs
from rgcn_jax.training.weights import Weights
from rgcn_jax.training.writer import _keep_records
from tests.fuzzing import damaged_files_test, refused_or_read, spoilt_json, spoilt_lines


def spoilt_sealed_tensors(content, rng):
    """Other names and metadata of tensors, with the hash of what is there."""
    from safetensors.numpy import load, save

    leaves = load(content)
    names = ["params", "params/a/b", "batch_stats", "/", "x", "params//", "params/a"]
    changed = {names[rng.integers(len(names))] if rng.random() < 0.4 else n: v for n, v in leaves.items()}
    metadata = {"format": "rgcn_jax model", "version": "1", "step": ("7", "x", "", "-1", "1e3")[rng.integers(5)]}
    nested: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, value in changed.items():
        nested.setdefault(name.split("/")[0], {})
        if isinstance(nested[name.split("/")[0]], dict):
            nested[name.split("/")[0]]["/".join(name.split("/")[1:])] = value
    return save(changed, metadata | {"hash": variables_hash(host_leaves(nested))})


def calibration(folder):
    evaluation = EvaluationConfig()
    settings = {"distance": evaluation.distance, "pose_weight": evaluation.pose_weight, "clips": evaluation.clips}
    point = {"tpr": 90.0, "interval": [80.0, 95.0], "fpr": 0.1, "threshold": 0.7}
    rows = {"fused": {"tpr_at_fpr": {"0.01": point, "0.001": None}, "genuine_pairs": 9, "impostor_pairs": 99}}
    write_calibration(Calibration(folder / "calibration.json", "a", "walkers", settings, rows))

    def read():
        found = read_calibration(folder)
        assert found is not None
        for rate in (0.01, 0.001):
            with refused_or_read():
                found.threshold("a", evaluation, "fused", rate)
        model_card(SAVED, [], found, "", {"formats": {}})

    return folder / "calibration.json", read


SAVED: Any = SimpleNamespace(path=Path(), step=8, hash="a", config=Config())


def fusion(folder):
    write_fusion(folder / "fusion.json", Fusion((1.0, 2.0), (0.0,) * 4, (0.0,) * 4), "a", "walkers", "dense")
    return folder / "fusion.json", lambda: read_fusion(folder, "a", "dense")


def card(folder):
    row = {"mAP": 50.0, "rank1": 60.0, "rank5": 70.0, "rank10": 80.0, "rank20": 90.0, "intervals": {"mAP": [4.0, 6.0]}}
    counts = {"people": 1, "tracklets": 2, "frames": 3}
    data = {
        "name": "walkers",
        "partition": "",
        "sha256": "a",
        **dict.fromkeys(("train", "query", "gallery", "junk"), counts),
    }
    about = {"data_set": "walkers", "protocol": "official", "distance": "euclidean", "clips": "dense", "gallery": 9}
    about |= {"valid_queries": 3, "skipped_queries": 0, "chance_rank1": 1.5, "fused": row, "step": 8, "data": data}
    (folder / "results.json").write_text(json.dumps(about))
    saved: Any = SimpleNamespace(path=folder, step=8, hash="a", config=Config())
    return folder / "results.json", lambda: model_card(saved, results_of(saved), None, "", {"formats": {}})


def metrics(folder):
    for step in (1, 2, 3):
        row = {"mAP": 50.0, "rank1": 60.0}
        append_json_line(folder / "metrics.jsonl", {"step": step, "loss_id": 1.5, "lambda": 0.5, "learning_rate": 1e-3})
        append_json_line(folder / "metrics.jsonl", {"step": step, "fused": row, "pose": row})

    def read():
        records = [r for r, _ in read_json_lines(folder / "metrics.jsonl")[0] if type(r.get("step")) is int]
        run: Any = SimpleNamespace(records=records, name="run")
        training_chart([run])
        _keep_records(folder / "metrics.jsonl", 2)

    return folder / "metrics.jsonl", read


def changes(folder):
    note_changes(folder, 4, {"seed": (1, 2)})
    note_changes(folder, 8, {"loss.margin": (0.3, 0.4)})
    return folder / "config_changes.jsonl", lambda: noted_changes(folder)


def inputs(folder):
    write_inputs(folder, Inputs({"tracklets": "a"}, None, {"jax": "1"}, ("w",)))
    return folder / "inputs.json", lambda: read_inputs(folder)


def config(folder):
    save_config(Config(data=DataConfig(name="walkers")), folder / "config.json")
    return folder / "config.json", lambda: load_config_json(folder / "config.json", lambda _: None)


def tracker(folder):
    (folder / "tracker.json").write_text(json.dumps({"wandb": "abcd", "mlflow": "efgh"}))
    return folder / "tracker.json", lambda: _known_runs(folder / "tracker.json")


def model_folder(folder):
    rng = np.random.default_rng(0)
    variables = {"params": {"a": {"b": rng.random(3, np.float32)}, "c": rng.random((2, 2))}, "batch_stats": {}}
    write_model_folder(folder, Weights(7, variables, variables_hash(host_leaves(variables))))
    return folder / "model.safetensors", lambda: read_model_folder(folder)


READERS = {
    "calibration": (calibration, spoilt_json),
    "fusion": (fusion, spoilt_json),
    "results for a model card": (card, spoilt_json),
    "metrics": (metrics, spoilt_lines),
    "changes of a config": (changes, spoilt_lines),
    "inputs": (inputs, spoilt_json),
    "config": (config, spoilt_json),
    "runs of trackers": (tracker, spoilt_json),
    "model folder": (model_folder, spoilt_sealed_tensors),
}

test_a_damaged_file_is_read_or_refused = damaged_files_test(READERS)
