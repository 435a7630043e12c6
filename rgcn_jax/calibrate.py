"""The command ``rgcn-jax calibrate``: verification metrics of a model, and its thresholds at fixed false positive
rates.

Also ``python -m rgcn_jax.calibrate``. The thresholds are stored in the model's folder as ``calibration.json``.
"""

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgcn_jax.command import Parser, last_line, run_command
from rgcn_jax.errors import InputError
from rgcn_jax.model_command import add_data_flags, add_model_flags, data_overrides, open_embedder
from rgcn_jax.shipped import is_shipped

if TYPE_CHECKING:  # not at run time: they import JAX, which takes seconds
    from rgcn_jax.embedder import Embedder
    from rgcn_jax.evaluation.feature_set import FeatureSet
    from rgcn_jax.evaluation.verification import Verification


def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax calibrate") -> None:
    """Parse the command line, verify all pairs of tracklets, print the rates and write the thresholds.

    Raises ``InputError`` for invalid arguments, models and data, also if no person was seen by
    two cameras (unless ``evaluation.protocol`` is ``same_camera_allowed``).
    """
    known, overrides = _parse(arguments, prog)
    from rgcn_jax import parallel  # imported after parsing: JAX takes seconds
    from rgcn_jax.calibration import CALIBRATION_FILE, Calibration, settings_of, write_calibration
    from rgcn_jax.evaluation.protocol import PROTOCOLS
    from rgcn_jax.evaluation.verification import verify

    embedder = open_embedder(known, [*data_overrides(known), *overrides])
    if known.fusion:
        _learn_fusion(known, embedder)
        return
    settings = embedder.config.evaluation
    features = _features(known, embedder)
    if not parallel.is_first():
        return
    config = embedder.config
    absent = ("appearance" if not config.with_appearance else "") + ("pose" if not config.with_pose else "")
    rows = tuple(row for row in ("appearance", "pose", "fused") if row != absent)
    found: dict[str, Verification] = {}
    protocol, embeddings = PROTOCOLS[settings.protocol], features.embeddings
    for row in rows:
        found[row] = verify(
            embedder.features(embeddings, row if embedder.config.with_pose else "appearance"),
            embeddings.person_ids,
            embeddings.camera_ids,
            exclude_same_camera=not protocol.same_camera,
            clothes_ids=None if protocol.same_clothes else embeddings.clothes_ids,
            resamples=known.resamples,
        )
    print(f"protocol {protocol.name}: {_table(found)}")
    calibration = Calibration(
        path=known.out or known.model / CALIBRATION_FILE,
        model=embedder.hash,
        data_set=str(features.header.get("data_set", "")),
        settings=settings_of(settings),
        rows={row: verification.to_json() for row, verification in found.items()},
    )
    write_calibration(calibration)
    rates = [fpr for fpr, point in found["fused"].tpr.items() if point is not None]
    then = "too few pairs for any threshold: calibrate on a data set with more persons"
    if rates:
        then = f"rgcn_jax.load({str(known.model)!r}).same_person(a, b, fpr={min(rates):g}) in Python"
    print(last_line(f"thresholds: {calibration.path}", then=then))


def _learn_fusion(known: Namespace, embedder: "Embedder") -> None:
    """Learn the fusion by quality from the training persons and store it in the model's folder."""
    from rgcn_jax import parallel
    from rgcn_jax.calibrate_fusion import learn_from_training_persons
    from rgcn_jax.calibration import FUSION_FILE, write_fusion
    from rgcn_jax.evaluation.calibrated import QUALITIES
    from rgcn_jax.training.run import open_process_data

    config = embedder.config
    data = open_process_data(config, required=("train",))
    fusion = learn_from_training_persons(embedder, data)
    if not parallel.is_first():
        return
    path = known.out or known.model / FUSION_FILE
    name = f"{data.split.name} {data.split.split_description}".strip()
    write_fusion(path, fusion, embedder.hash, name, config.evaluation.clips)
    print(f"appearance: LLR = {fusion.appearance[0]:.2f} - {fusion.appearance[1]:.2f} d")
    for what, values in (("bias", fusion.pose_bias), ("log slope", fusion.pose_log_slope)):
        print(f"pose, {what}: {', '.join(f'{n} {v:+.2f}' for n, v in zip(QUALITIES, values, strict=True))}")
    calibrated = "--config.evaluation.distance=calibrated"
    print(last_line(f"fusion: {path}", "rgcn-jax", "evaluate", f"--model={known.model}", calibrated))


def _features(known: Namespace, embedder: "Embedder") -> "FeatureSet":
    """Features of the data set's tracklets, or those of ``--features`` if they were computed by this model."""
    from rgcn_jax.evaluation.feature_set import read_features, with_labels
    from rgcn_jax.evaluation.scorer import Scorer
    from rgcn_jax.training.run import open_process_data

    config = embedder.config
    if known.features:
        features = read_features(known.features)
        if features.model != embedder.hash:
            raise InputError(
                f"{known.features} holds features of other weights than {known.model}: embed with this model, rgcn-jax "
                f"embed --model={known.model} --out=FILE.npz."
            )
        made_with = features.header.get("clips")
        if made_with != config.evaluation.clips:
            raise InputError(
                f"{known.features} was embedded with evaluation.clips={made_with!r}, but the model has "
                f"evaluation.clips={config.evaluation.clips!r}: embed again, or set the field to the value of the file."
            )
        return with_labels(features, known.labels) if known.labels else features
    required = ("train",) if known.persons == "train" else ("query", "gallery")
    data = open_process_data(config, required=required)
    scorer = Scorer(config, embedder.model, data, embedder.mesh)
    if known.persons == "train":
        return scorer.train_features(embedder.variables, embedder.step)
    return scorer.features(embedder.variables, embedder.step)


def _table(found: "dict[str, Verification]") -> str:
    """The rates of every row in per cent, with 95 % intervals over persons, and the thresholds."""
    first = next(iter(found.values()))
    lines = [
        f"{first.num_genuine:,} genuine pairs, {first.num_impostor:,} impostor pairs of "
        f"{first.num_persons:,} persons; per cent, with 95 % intervals over persons"
    ]
    for row, verification in found.items():
        lines.append(f"{row:<11} EER {_rate(verification.eer, verification.eer_interval)}")
        for fpr, point in verification.tpr.items():
            if point is None:
                lines.append(f"{'':<11} TPR at FPR {fpr:g}: too few impostor pairs")
            else:
                rate = _rate(point.tpr, point.interval)
                lines.append(f"{'':<11} TPR at FPR {fpr:g}: {rate}, threshold {point.threshold:.6g}")
    return "\n".join(lines)


def _rate(rate: float, interval: tuple[float, float] | None) -> str:
    between = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * rate:.1f}{between}"


def _parse(arguments: Sequence[str] | None, prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Measure the equal error rate and the true positive rate at fixed false positive rates over all genuine and "
        "impostor pairs of tracklets, and store the thresholds in the model's folder.",
        epilog="Calibrate on persons that the model was not trained on, recorded under the conditions of its use.",
        config_fields=True,
    )
    add_model_flags(parser)
    add_data_flags(parser)
    parser.flag(
        "--persons",
        "persons to verify: those of query and gallery, or those of the training set",
        choices=("test", "train"),
        default="test",
    )
    parser.switch(
        "--fusion",
        "instead, learn from the training persons how to fuse appearance and pose by keypoint quality, for "
        "evaluation.distance=calibrated (docs/metrics.md), and store it as fusion.json",
    )
    parser.path("--features", "FILE.npz", "use the features in this file, which this model must have computed")
    parser.path("--labels", "FILE.csv", "persons, cameras and roles of the tracklets of --features")
    parser.whole("--resamples", "bootstrap resamples of the persons, for the intervals", default=1000, least=0)
    parser.path(
        "--out", "FILE.json", "the file to write (default: calibration.json or fusion.json in the model's folder)"
    )
    known, overrides = parser.parse_known_args(arguments)
    if known.out is None and is_shipped(known.model):
        raise InputError(
            f"{known.model} is part of the package, which is not written to: export a copy, rgcn-jax export "
            f"--model={known.model} --out=DIR, and calibrate that, or set --out=FILE.json."
        )
    if known.fusion and known.features:
        raise InputError("--fusion embeds the training persons itself: omit --features.")
    if known.labels and not known.features:
        raise InputError("--labels needs --features=FILE.npz: a data set has its own labels.")
    if known.features and (known.dataset or known.root):
        raise InputError("--features was given together with --dataset or --root: expected one or the other.")
    return known, overrides


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.calibrate")
