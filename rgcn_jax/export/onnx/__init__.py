"""From a jaxpr to ONNX: ``convert.to_onnx``, and a table of JAX primitives in ``primitives.py``.

Written here because a converter of a whole library is not needed: the models use some fifty primitives, whose symbolic
batch and scan are translated exactly. Needs the package ``onnx``.
"""
