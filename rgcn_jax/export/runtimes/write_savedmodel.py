"""Wraps a StableHLO module in a TensorFlow SavedModel: write_savedmodel.py MODULE CONVENTION.json FOLDER.

TensorFlow's operation XlaCallModule contains the module with its weights, and compiles it for each input shape. Loading
the SavedModel requires only TensorFlow, of the same version or later.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(module: str, convention: str, folder: str) -> None:
    """Write the SavedModel, with the signature "serving_default"."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla  # the only Python API of the operation

    known = json.loads(Path(convention).read_text(encoding="utf-8"))
    newest = xla.call_module_maximum_supported_version()
    if known["version"] > newest:
        sys.exit(
            f"TensorFlow {tf.__version__} supports modules up to version {newest}, but this JAX writes version "
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
