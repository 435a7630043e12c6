"""Loading of saved models: config and weights of a run or of a model folder, without the classifier.

A model folder is for sharing: ``config.json`` as in a run, and ``model.safetensors`` (``training/model_folder.py``).
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rgcn_jax.config import Config
from rgcn_jax.config_io import CONFIG_FILE, load_config_json, override, save_config, typed
from rgcn_jax.errors import InputError, listed
from rgcn_jax.evaluation.scorer import model_from_config
from rgcn_jax.models.two_branch import CLASSIFIER, TwoBranch
from rgcn_jax.runtime.checksum import differences, host_leaves, structure
from rgcn_jax.shipped import SHIPPED, model_path
from rgcn_jax.training.model_folder import WEIGHTS_FILE, read_model_folder, write_model_folder
from rgcn_jax.training.state import variables_hash
from rgcn_jax.training.weights import Weights, read_weights


class SavedModel(NamedTuple):
    """A config with its weights.

    ``variables``: NumPy arrays, without the classifier. ``hash``: SHA-256 of them, the same for a run and its exported
    model folder.
    """

    path: Path
    config: Config
    step: int
    variables: dict[str, Any]
    hash: str

    def build(self, mesh: Mesh) -> TwoBranch:
        """Build the model, without classifier, for the devices of a mesh. Raises InputError if the weights do not fit
        it.
        """
        model = self.model(mesh)
        _check_fit(self, model)
        return model

    def model(self, mesh: Mesh) -> TwoBranch:
        """The model that the config describes, without comparing it with the weights."""
        return model_from_config(self.config, 0, mesh)


def open_model(
    path: str | Path,
    checkpoint: str = "latest",
    *,
    allow_imports: Collection[str] = (),
    overrides: Sequence[str] = (),
) -> SavedModel:
    """Read a run folder or a model folder; nothing in it is changed.

    Args:
      path: the folder, or the name of a packaged model (``rgcn_jax.shipped``).
      checkpoint: "latest" or "best"; applies to a run.
      allow_imports: modules that the config may import for custom model parts ("MODULE:NAME"), including their
        submodules. Importing runs code, so no other module is imported.
      overrides: ``--config.field=value`` arguments.

    Raises:
      InputError: the model does not exist, its weights are damaged, or its config names a module that is not allowed.
    """
    path = model_path(path)
    is_folder = (path / WEIGHTS_FILE).is_file()
    if not is_folder and not (path / CONFIG_FILE).is_file():
        raise InputError(
            f"no model in {path}: expected the folder of a run of rgcn-jax train ({CONFIG_FILE}, checkpoints), a "
            f"model folder ({CONFIG_FILE}, {WEIGHTS_FILE}) or {' or '.join(SHIPPED)}; found {_contents(path)}."
        )
    config = typed(override(load_config_json(path / CONFIG_FILE), overrides))
    _check_imports(path, config, allow_imports)
    if is_folder:
        step, variables, _ = read_model_folder(path)
    else:
        step, variables, _ = read_weights(path, checkpoint)
    variables["params"] = {name: value for name, value in variables["params"].items() if name != CLASSIFIER}
    return SavedModel(path, config, step, variables, variables_hash(host_leaves(variables)))


def save_model(folder: Path, model: SavedModel) -> None:
    """Write ``config.json`` and ``model.safetensors`` to an existing folder. Raises InputError if they cannot be
    written.
    """
    write_model_folder(folder, Weights(model.step, model.variables, model.hash))
    save_config(model.config, folder / CONFIG_FILE)


def _check_imports(path: Path, config: Config, allowed: Collection[str]) -> None:
    """Raise ``InputError`` if the config names a module that is not allowed."""
    parts = (config.model.appearance, config.model.pose, config.model.readout)
    modules = dict.fromkeys(part.partition(":")[0] for part in parts if ":" in part)
    refused = [m for m in modules if not any(m == name or m.startswith(f"{name}.") for name in allowed)]
    if refused:
        raise InputError(
            f"the model {path} would import and run the Python module {' and '.join(refused)}, which is not allowed: "
            f"if you trust it, allow it by --allow-import={refused[0]} or load(path, allow_imports=[{refused[0]!r}])."
        )


def _check_fit(saved: SavedModel, model: TwoBranch) -> None:
    """Raise ``InputError`` if names or shapes of the weights differ from those of the model."""
    config = saved.config
    statistics = saved.variables["batch_stats"].get("statistics_appearance", {"mean": np.zeros(1)})
    one = (1, config.frames_per_clip)
    frames = (*one, *config.frame_size, 3)
    if config.model.appearance in ("precomputed", "none"):
        frames = (1, len(statistics["mean"]) if config.with_appearance else 0)
    expected = jax.eval_shape(
        lambda: model.init(
            jax.random.key(0), jnp.zeros(frames, model.dtype), jnp.zeros((*one, 14, 3)), jnp.ones(one, bool)
        )
    )
    if wrong := differences(structure(saved.variables), structure(expected)):
        raise InputError(
            f"the weights of {saved.path} do not fit the model that its config describes: "
            f"{listed(wrong, 3, separator='; ')}."
        )


def _contents(path: Path) -> str:
    if not path.is_dir():
        return "a file" if path.exists() else "no such folder"
    return listed(sorted(entry.name for entry in path.iterdir()), 6) or "an empty folder"
