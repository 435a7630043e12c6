"""Export: a model as a folder to share, and as a function for other runtimes (StableHLO, ONNX, TensorFlow).

``function.py`` makes the function from a model, a module a format writes it, ``check.py`` runs what was written by its
own runtime, in a process of its own, and compares, ``model_card.py`` describes it all in the folder's README.md.
"""
