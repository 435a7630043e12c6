"""The only import of TensorFlow, on the CPU only: ``from rgcn_jax.data.clips.tensorflow_cpu import tf``."""

import os

from rgcn_jax.errors import needs_extra

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # not used here, and it prints a message at every start
with needs_extra("data", "Reading a data set from disk needs TensorFlow"):
    import tensorflow as tf

tf.config.set_visible_devices([], "GPU")

__all__ = ["tf"]
