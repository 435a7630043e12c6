"""Conversion of a jaxpr to ONNX: ``convert.to_onnx``, with the rules of JAX primitives in the other modules.

The models use some fifty primitives, whose symbolic batch and scan are translated exactly, so no general converter is
needed. Requires the package ``onnx``.
"""
