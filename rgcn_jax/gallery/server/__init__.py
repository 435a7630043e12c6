"""Web page of a gallery, ``rgcn-jax gallery serve``: a small server on the loopback address (docs/search.md)."""
