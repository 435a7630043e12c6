"""The page of a gallery, ``rgcn-jax gallery serve``: a small web server on the loopback address (docs/search.md)."""
