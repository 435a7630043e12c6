"""Gallery of enrolled tracklets with search for the same person (docs/search.md, docs/gallery.md).

gallery = Gallery.open("people", rgcn_jax.load("runs/mars"))
gallery.add(embeddings, [Entry("walk1/0003", camera_id=1), ...])
gallery.search(embedding, k=10, where=Where(not_cameras=[1]))
"""

from rgcn_jax.gallery.binding import GalleryModel
from rgcn_jax.gallery.entry import Entry, Match, Where
from rgcn_jax.gallery.gallery import Gallery

__all__ = ["Entry", "Gallery", "GalleryModel", "Match", "Where"]
