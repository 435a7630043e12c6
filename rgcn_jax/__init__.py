"""Video person re-identification with a recurrent graph convolution over poses, in JAX and Flax."""

__version__ = "0.1.0"
