"""Wraps a StableHLO module in a TensorFlow SavedModel: write_savedmodel.py MODULE CONVENTION.json FOLDER.

TensorFlow's operation XlaCallModule holds the module, weights included, and compiles it for the shapes that it is
called with. What reads the SavedModel needs TensorFlow alone, of the version that wrote it or later.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(module: str, convention: str, folder: str) -> None:
    """Writes the SavedModel, with the signature "serving_default"."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla  # the operation's only Python function

    known = json.loads(Path(convention).read_text(encoding="utf-8"))
    newest = xla.call_module_maximum_supported_version()
    if known["version"] > newest:
        sys.exit(
            f"TensorFlow {tf.__version__} runs modules up to version {newest} and this JAX writes version "
            f"{known['version']}: install a later TensorFlow"
        )
    content = Path(module).read_bytes()
    outputs = known["outputs"]

    def call(*inputs: Any) -> dict[str, Any]:
        found: Any = xla.call_module(
            [inputs[i] for i in known["used"]],
            version=known["version"],
            module=content,
            platforms=known["platforms"],
            Tout=[tf.dtypes.as_dtype(of["dtype"]) for of in outputs],
            Sout=[of["shape"] for of in outputs],
        )
        return {of["name"]: result for of, result in zip(outputs, found, strict=True)}

    signature = [tf.TensorSpec(of["shape"], of["dtype"], of["name"]) for of in known["inputs"]]
    holder = tf.Module()
    function = tf.function(call, input_signature=signature, autograph=False)
    holder.embed = function  # pyright: ignore[reportAttributeAccessIssue]
    tf.saved_model.save(holder, folder, signatures={"serving_default": function})


if __name__ == "__main__":
    main(*sys.argv[1:])
