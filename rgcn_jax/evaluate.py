"""The command ``rgcn-jax evaluate``, also ``python -m rgcn_jax.evaluate``: score a model on a data set.

Or score a features file, which needs no model.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.config import Config, DataConfig, to_config_dict
from rgcn_jax.config_io import override, typed
from rgcn_jax.errors import InputError
from rgcn_jax.model_command import add_data_flags, add_model_flags, data_overrides, open_embedder, results_path

if TYPE_CHECKING:  # not at run time: they import JAX, which takes seconds
    from rgcn_jax.evaluation.feature_set import FeatureSet
    from rgcn_jax.evaluation.results import Evaluation


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax evaluate") -> None:
    """Parse the command line, score a model or a features file, print the rows of every protocol and write them.

    Raises ``InputError`` for invalid arguments, models, data and features.
    """
    known, overrides = _parse(arguments, prog)
    if known.all_splits:
        from rgcn_jax.evaluate_splits import evaluate_splits

        evaluate_splits(known, lambda of_split: _evaluate(of_split, overrides))
    else:
        _evaluate(known, overrides)


def _evaluate(known: Namespace, overrides: Sequence[str]) -> "tuple[Evaluation, Path]":
    if known.model:
        return _evaluate_model(known, [*data_overrides(known), *overrides])
    return _evaluate_features(known, overrides)


def _evaluate_model(known: Namespace, overrides: Sequence[str]) -> "tuple[Evaluation, Path]":
    from rgcn_jax import parallel  # imported after parsing: JAX takes seconds
    from rgcn_jax.calibration import read_fusion
    from rgcn_jax.evaluation.feature_set import check_target, join, write_features
    from rgcn_jax.evaluation.results import write_results
    from rgcn_jax.evaluation.scorer import score, scorer_from_config
    from rgcn_jax.runtime.provenance import provenance, versions
    from rgcn_jax.training.run import open_process_data

    embedder = open_embedder(known, overrides)
    config, variables = embedder.config, embedder.variables
    fusion = read_fusion(known.model, embedder.hash, config.evaluation.clips) if _fuses(config) else None
    if fusion is None and _fuses(config) and config.evaluation.distance == "calibrated":
        raise InputError(
            f"{known.model} has no fusion for evaluation.distance=calibrated: run rgcn-jax calibrate "
            f"--model={known.model} --fusion."
        )
    path = results_path(known.model, _name(config, known.checkpoint, known.fit_pose_weight), known.out)
    if known.save_features and parallel.is_first():
        check_target(known.save_features, embedder.hash)
    data = open_process_data(config, required=("train",) * known.fit_pose_weight + ("query", "gallery"))
    scorer = scorer_from_config(config, embedder.model, data, embedder.mesh)
    header = {"model": embedder.hash, "config": config.to_dict(), "versions": versions()}
    header |= {"fusion": fusion.to_json()} if fusion else {}
    features = scorer.features(variables, embedder.step, header)
    train = scorer.train_features(variables, embedder.step) if known.with_train or known.fit_pose_weight else None
    config, fitted = _fit_pose_weight(config, train if known.fit_pose_weight else None)
    evaluation = score(features, config.evaluation)
    analysis = _analysis(known, evaluation, config)
    print(f"step {evaluation.step} of {known.model} on {evaluation.data_set}\n{evaluation.table()}{_summary(analysis)}")
    if known.with_train and train is not None:
        features = join(features, train)
    if not parallel.is_first():
        return evaluation, path
    if known.save_features:
        write_features(known.save_features, features)
        print(f"features of {len(features.first_frames)} tracklets: {known.save_features}")
    extra = {"model": embedder.hash, "config": config.to_dict(), **provenance(data.split)}
    write_results(path, evaluation, extra | fitted | analysis)
    print(last_line(f"results: {path}", "rgcn-jax", "report", known.model, "--out=report.html"))
    return evaluation, path


def _evaluate_features(known: Namespace, overrides: Sequence[str]) -> "tuple[Evaluation, Path]":
    from rgcn_jax.evaluation.feature_set import read_features, with_labels
    from rgcn_jax.evaluation.results import write_results
    from rgcn_jax.evaluation.scorer import score

    features = read_features(known.features)
    if known.labels:
        features = with_labels(features, known.labels)
    if not features.roles.query.any():
        raise InputError(
            f"{known.features} has no query, so there is nothing to score: set persons, cameras and roles of its "
            f"tracklets by --labels=FILE.csv (docs/embedding.md)."
        )
    of_model, name = features.header.get("config"), str(known.features)
    config = typed(of_model, name=name) if of_model else Config(data=DataConfig(name="folder"))
    config = typed(override(to_config_dict(config), overrides), name=name)
    path = results_path(known.features.parent, known.features.stem + "-fitted" * known.fit_pose_weight, known.out)
    train = None
    if known.fit_pose_weight:
        train = features.take(~(features.roles.query | features.roles.gallery | features.roles.junk))
        if not len(train.first_frames):
            raise InputError(f"{known.features} has no training tracklets: write it with --save-features --with-train.")
    config, fitted = _fit_pose_weight(config, train)
    result = score(features, config.evaluation)
    analysis = _analysis(known, result, config)
    print(f"{known.features}, step {result.step}, {result.data_set}\n{result.table()}{_summary(analysis)}")
    write_results(path, result, {"model": features.model, "config": config.to_dict()} | fitted | analysis)
    other = "--rows=appearance,fused" if len(result.rows) > 1 else "OTHER.json"
    print(last_line(f"results: {path}", "rgcn-jax", "compare", path, other))
    return result, path


def _fit_pose_weight(config: Config, train: "FeatureSet | None") -> tuple[Config, dict[str, Any]]:
    """Choose the pose weight with the highest mAP on the training tracklets.

    Returns:
      The config with that weight, and the entry for the results; the config as it is and {} if ``train`` is None.
    """
    if train is None:
        return config, {}
    from rgcn_jax.evaluation.pose_weight import best_weight, mAP_by_weight

    found = mAP_by_weight(train, config.evaluation.distance)
    weight = best_weight(found)
    shown = ", ".join(f"{w:g}: {value:.1f}" for w, value in found.items())
    print(f"pose weight {weight:g}; mAP (%) over {len(train.first_frames):,} training tracklets: {shown}")
    entry = {"weight": weight, "train_mAP": {f"{w:g}": value for w, value in found.items()}}
    return replace(config, evaluation=replace(config.evaluation, pose_weight=weight)), {"fitted_pose_weight": entry}


def _analysis(known: Namespace, evaluation: "Evaluation", config: Config) -> dict[str, Any]:
    """The entry ``analysis`` of the results, for the headline protocol; {} without ``--analysis``."""
    if not known.analysis:
        return {}
    from rgcn_jax.evaluation.analysis import analyse
    from rgcn_jax.evaluation.attributes import read_attributes, shared_outfits
    from rgcn_jax.evaluation.protocol import PROTOCOLS
    from rgcn_jax.evaluation.scorer import calibrated_distances

    features, settings = evaluation.features, config.evaluation
    groups = features.header.get("look_alikes")
    worn = features.embeddings.person_ids, features.embeddings.clothes_ids
    ids = features.embeddings.person_ids, features.embeddings.camera_ids
    attributes = read_attributes(known.attributes, features.first_frames, *ids) if known.attributes else None
    found = analyse(
        evaluation.metrics[evaluation.protocol],
        features.embeddings,
        features.roles,
        PROTOCOLS[evaluation.protocol],
        kind=settings.distance,
        pose_weight=settings.pose_weight,
        statistics=features.statistics,
        num_frames=features.num_frames,
        keypoint_share=features.quality and features.quality.share,
        look_alikes=shared_outfits(groups, *worn) if groups else None,
        fused=calibrated_distances(features) if settings.distance == "calibrated" else None,
        attributes=attributes,
    )
    return {"analysis": found}


def _summary(analysis: Mapping[str, Any]) -> str:
    """A short summary of the analysis for the terminal."""
    if not analysis:
        return ""
    from rgcn_jax.evaluation.tables import format_value

    def number(value: float, interval: Sequence[float] | None) -> str:
        return format_value(value, None if interval is None else (interval[0], interval[1]))

    def shown(metrics: Mapping[str, Any]) -> str:
        titles = (("mAP", "mAP"), ("Rank-1", "rank1"))
        return ", ".join(f"{title} {number(metrics[name], metrics['intervals'][name])}" for title, name in titles)

    found = analysis["analysis"]
    lines = []
    for row, verification in found["verification"].items():
        lines.append(f"{row}: EER {number(verification['eer'], verification['eer_interval'])}")
        searched = (found["open_set"][row] or {"fnir_at_fpir": {}})["fnir_at_fpir"]
        for fpir, point in searched.items():
            lines[-1] += f", FNIR at FPIR {fpir} {number(point['fnir'], point['interval'])}" if point else ""
        named = {"multi_query": found["multi_query"].get(row), **found["reranking"].get(row, {})}
        lines += [f"  {row}, {name}: {shown(metrics)}" for name, metrics in named.items() if metrics]
    for name, rows in found["slices"].items():
        lines.append(f"{name}: {'; '.join(f'{row} {shown(m)}' for row, m in rows.items() if 'rank1' in m)}")
    return "\n" + "\n".join(lines)


def _fuses(config: Config) -> bool:
    return config.with_appearance and config.with_pose


def _name(config: Config, checkpoint: str, fitted: bool) -> str:
    """Base name of the results file: data set, split, checkpoint, distance, weight and clips."""
    data, settings = config.data, config.evaluation
    split = f"-split{data.split}" if data.split != 1 else ""
    weight = "-fitted" if fitted else f"-w{settings.pose_weight:g}" if settings.pose_weight != 1 else ""
    return f"{data.name}{split}-{checkpoint}-{settings.distance}{weight}-{settings.clips}"


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Evaluate a model under every protocol, on its own data set or another one; or score a features file without a "
        "model (--features=FILE.npz and no --model).",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.distance=normalized. The best "
        "checkpoint is selected by mAP on the test set, as is usual in the field, and is thus biased upwards; the "
        "latest is not.",
        config_fields=True,
    )
    add_model_flags(parser, required=False)
    add_data_flags(parser)
    parser.path("--features", "FILE.npz", "without --model: features to score; with it: same as --save-features")
    parser.path(
        "--save-features",
        "FILE.npz",
        "write the features of all test tracklets; a file of another model is never overwritten",
    )
    parser.switch("--with-train", "also write features of the training tracklets, as data.features requires")
    parser.switch(
        "--analysis",
        "verification, open-set search, re-ranking and slices too (docs/metrics.md): a minute or two on MARS",
    )
    parser.switch(
        "--fit-pose-weight",
        "choose evaluation.pose_weight by mAP over the training tracklets, then score the test tracklets",
    )
    parser.path(
        "--attributes", "FILE.csv", "attribute annotations of the tracklets, for the look-alike rows of --analysis"
    )
    parser.switch(
        "--all-splits",
        "evaluate every published split of iLIDS-VID or PRID2011 and print mean and standard error; {split} in --model "
        "or --features stands for the split number",
    )
    parser.path(
        "--labels", "FILE.csv", "persons, cameras and roles of the tracklets of a features file (docs/embedding.md)"
    )
    parser.path(
        "--out", "FILE.json", "the results file (default: evaluations/NAME.json next to the model or the features)"
    )
    known, overrides = parser.parse_known_args(arguments)
    if known.model:
        known.save_features = known.save_features or known.features
    elif not known.features:
        raise InputError("expected --model=DIR to evaluate a model, or --features=FILE.npz to score features.")
    elif known.save_features:
        raise InputError("--save-features needs --model=DIR: a features file is saved already.")
    if known.with_train and not known.save_features:
        raise InputError("--with-train needs --save-features=FILE.npz.")
    if known.attributes and not known.analysis:
        raise InputError("--attributes needs --analysis.")
    if known.labels and known.model:
        raise InputError("--labels is for --features=FILE.npz without --model: a data set has its own labels.")
    return known, overrides


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.evaluate")
