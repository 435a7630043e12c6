"""The command ``rgcn-jax export``, also ``python -m rgcn_jax.export``: write a model folder, or other formats."""

from collections.abc import Sequence

from rgcn_jax.command import Parser, last_line, on_interrupt, run_command
from rgcn_jax.model_command import add_model_flags


@on_interrupt("nothing was exported.")
def main(arguments: Sequence[str] | None = None, prog: str = "rgcn-jax export") -> None:
    """Parse the command line and export a model.

    Raises:
      InputError: an argument is invalid, the model does not exist, a runtime is not installed, or an export differs
        from the model; then nothing is written.
    """
    parser = Parser(
        prog,
        "Export a model as a folder to share (config.json, model.safetensors, model card), which rgcn_jax.load reads, "
        "optionally with versions for other runtimes: StableHLO (jax.export), ONNX, TensorFlow's SavedModel. Each is "
        "run in its own runtime on 16 tracklets and must agree with the model, or nothing is written.",
        epilog="Fields of the run's config can be changed, such as --config.evaluation.distance=standardized, the "
        "distance for which the exported feature is computed.",
        config_fields=True,
    )
    add_model_flags(parser)
    parser.flag(
        "--to", "formats, of folder,stablehlo,onnx,savedmodel; folder is implied", default="folder", metavar="FORMATS"
    )
    parser.path("--out", "DIR", "folder to write, which must not exist", required=True)
    parser.flag("--licence", "licence of the weights, for the model card", default="", metavar="NAME")
    known, overrides = parser.parse_known_args(arguments)

    from rgcn_jax.export.formats import parse_formats  # imported after parsing: JAX takes seconds
    from rgcn_jax.export.write import check_target, export_model
    from rgcn_jax.saved_model import open_model

    formats = parse_formats(known.to.split(","))
    check_target(known.out)
    saved = open_model(known.model, known.checkpoint, allow_imports=known.allow_import, overrides=overrides)
    export_model(saved, known.out, formats, known.licence)
    use = f"rgcn_jax.load({str(known.out)!r}) in Python, or share the folder"
    print(last_line(f"model of step {saved.step}: {known.out}", then=use))


if __name__ == "__main__":
    run_command(main, prog="python -m rgcn_jax.export")
