"""Export of a model as a folder to share, and as a function for other runtimes (StableHLO, ONNX, TensorFlow).

``function.py`` builds the function, a module per format writes it, ``check.py`` compares the result with the model by
running it in its own runtime, in a separate process, and ``model_card.py`` writes the folder's README.md.
"""
