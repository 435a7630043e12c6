"""The command ``rgcn-jax calibrate``, also ``python -m rgcn_jax.calibrate``: the distance thresholds of a model at fixed
false positive rates, kept in the model's folder (``calibration.json``).
"""
