"""The two forms of a model, plain and fast on a CPU: the same parameters, features, statistics and gradients."""

import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from rgcn_jax import models
from rgcn_jax.models.build import build_model, initialise
from rgcn_jax.models.frame_input import normalise_frames
from tests import tiny


def built(platform, **fields):
    return build_model(tiny.FIELDS | {"pose": "GCNRNN"} | fields, tiny.IDENTITIES, platform=platform)


def started(platform, compiled_for=""):
    return initialise(built(platform), 0, tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH, platform=compiled_for)


def inputs():
    batch = tiny.batch()
    frames = normalise_frames(jnp.asarray(batch["frames"]), jnp.float32)
    return frames, jnp.asarray(batch["keypoints"]), jnp.asarray(batch["frame_mask"])


@pytest.mark.slow
@pytest.mark.jit
def test_both_forms_start_from_the_same_values_and_compute_the_same():
    variables = started("gpu")
    tiny.leaves_close(started("cpu"), variables, rtol=0)
    tiny.leaves_close(started("cpu", compiled_for="cpu"), variables, rtol=1e-5, atol=1e-5)

    @partial(jax.jit, static_argnums=0)
    def computed(model, variables, inputs):
        """Of a sum in which every feature and logit counts in training: gradient, features, statistics; and the
        features in evaluation.
        """

        def loss(params):
            found = model.apply({**variables, "params": params}, *inputs, train=True, mutable=["batch_stats"])
            return sum(jnp.sin(x).sum() for x in found[0][:3]), (found[0][:2], found[1])

        return jax.grad(loss, has_aux=True)(variables["params"]), model.apply(variables, *inputs)[:2]

    (fast, *features), (plain, *expected) = (
        jax.tree.leaves(computed(built(platform), variables, inputs()), is_leaf=lambda x: isinstance(x, dict))
        for platform in ("cpu", "gpu")
    )
    tiny.close_in_norm(fast, plain, 1e-3)
    tiny.leaves_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("platform", "fast"), [("cpu", True), ("gpu", False), ("tpu", False), ("", False)])
@pytest.mark.parametrize("fields", [{}, {"appearance": "BiC", "stage_sizes": (1,) * 4}], ids=["AP", "BiC"])
def test_only_a_cpu_has_the_fast_form(fields, platform, fast):
    """The convolution for a CPU has gradients of its own."""
    model = built(platform, **fields)
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs())
    assert ("custom_vjp" in str(jax.make_jaxpr(model.apply)(variables, *inputs()))) == fast
    assert model.pose is not None
    assert model.pose.project_in_scan == fast


def test_no_model_asks_for_the_platform():
    """It is the builder's argument."""
    files = Path(models.__file__).parent.rglob("*.py")
    asking = re.compile(r"default_backend|jax\.(local_)?devices|\.platform\b|process_count")
    assert [file.name for file in files if asking.search(file.read_text(encoding="utf-8"))] == []
