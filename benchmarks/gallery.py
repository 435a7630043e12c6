"""Benchmark of a gallery, compared with faiss's exact index: additions and queries per second, and memory.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.gallery --counts 10000 100000
    python -m benchmarks.gallery --milvus FILE.db --counts 10000
    python -m benchmarks.gallery --milvus milvus://127.0.0.1:19530/bench?index=HNSW --counts 100000 --widths 512 128

Random features have the dimensions of MARS's models, 2,048 and 512, unless --widths; the distance is "normalized". The
gallery adds 1,000 tracklets at a time; each addition is on disk when it returns. It is then opened again, so that it
reads from disk the rows that faiss (IndexFlatL2) holds in memory. The first search verifies all checksums and is timed
separately.

Both are searched with one query and with 64 queries at a time, and the best of each is used. Times are processor times,
which other load on the machine affects less than wall time, so both must run in one thread. Both must find the same
entries. Memory is measured in separate processes as anonymous pages. For the gallery, the value in brackets includes
the pages of its files in the system's cache.

With --milvus, tracklets of 500 persons are added to Milvus. They are searched once the index is built, in wall time, by
appearance and by both branches. Recall is the fraction of the k nearest neighbours of an exact search that is found.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from rgcn_jax.calibration import Calibration
from rgcn_jax.config import Config
from rgcn_jax.evaluation.distance import FeatureStatistics
from rgcn_jax.gallery import Entry, Gallery
from rgcn_jax.types import Embeddings

Widths = tuple[int, int]
WIDTHS = (2048, 512)
BATCH = 1000
QUERIES = 64
K = 20


@dataclass
class Model:
    """Stand-in for an embedder, with the attributes that a gallery reads."""

    hash: str
    config: Config
    statistics: FeatureStatistics
    calibration: Calibration | None = None


def model(widths: Widths) -> Model:
    """A model with the distance "normalized"."""
    config = Config()
    config = replace(config, evaluation=replace(config.evaluation, distance="normalized"))
    zeros = [np.zeros(width, np.float32) for width in widths for _ in range(2)]
    return Model("benchmark", config, FeatureStatistics(*zeros))


def features(widths: Widths, start: int, count: int) -> Embeddings:
    """Features of tracklets from number ``start`` on."""
    rng = np.random.default_rng(start)
    a, p = (np.maximum(rng.standard_normal((count, width), np.float32), 0) for width in widths)
    return Embeddings(a, p, np.zeros(count, np.int32), np.zeros(count, np.int32))


def rows(found: Embeddings) -> np.ndarray:
    """The rows as the gallery stores them, for faiss."""
    return np.concatenate([x / np.linalg.norm(x, axis=1, keepdims=True) for x in found[:2]], axis=1)


def best(search, queries: int, seconds: float) -> float:
    """Queries per second of processor time: the best of repetitions for some seconds."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.process_time()
        search()
        times.append(time.process_time() - start)
    return queries / min(times)


def memory() -> tuple[float, float]:
    """Anonymous and file-backed pages of this process in MiB."""
    values = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(values[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))  # pyright: ignore


def fill(folder: Path, widths: Widths, count: int) -> float:
    """Add tracklets; return additions per second, without the time to generate features."""
    gallery, seconds = Gallery.open(folder, model(widths)), 0.0
    for start in range(0, count, BATCH):
        found = features(widths, start, min(BATCH, count - start))
        entries = [Entry(f"{start + i:07d}", "benchmark", camera_id=1 + i % 6) for i in range(len(found.person_ids))]
        begin = time.perf_counter()
        gallery.add(found, entries)
        seconds += time.perf_counter() - begin
    return count / seconds


def measure(kind: str, folder: Path, widths: Widths, count: int, seconds: float) -> dict:
    """Measure one implementation in a separate process."""
    queries = features(widths, 10**9, QUERIES)
    begin = time.perf_counter()
    if kind == "gallery":
        gallery = Gallery.open(folder, model(widths))
        opened = time.perf_counter() - begin
        one = Embeddings(*(column[:1] for column in queries))
        begin = time.perf_counter()
        gallery.search(one, k=K)
        first = time.perf_counter() - begin
        single = best(lambda: gallery.search(one, k=K), 1, seconds)
        many = best(lambda: gallery.search(queries, k=K), QUERIES, seconds)
        found = [[match.id - 1 for match in matches] for matches in gallery.search(queries, k=K)]
    else:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(sum(widths))
        adding = 0.0
        for start in range(0, count, BATCH):
            part = rows(features(widths, start, min(BATCH, count - start)))
            begin = time.perf_counter()
            index.add(part)  # pyright: ignore[reportCallIssue]
            adding += time.perf_counter() - begin
        opened, first = count / adding, 0.0
        asked = rows(queries)
        single = best(lambda: index.search(asked[:1], K), 1, seconds)  # pyright: ignore[reportCallIssue]
        many = best(lambda: index.search(asked, K), QUERIES, seconds)  # pyright: ignore[reportCallIssue]
        found = index.search(asked, K)[1].tolist()  # pyright: ignore[reportCallIssue]
    return {"opened": opened, "first": first, "single": single, "many": many, "memory": memory(), "found": found}


def rectified(widths: Widths, start: int, count: int) -> Embeddings:
    """Like ``features``, but of 500 persons with a tenth of noise, so that an index has meaningful neighbours."""
    rng = np.random.default_rng(start)
    person = rng.integers(0, 500, count)
    middle = np.random.default_rng(1)
    found = [np.abs(middle.standard_normal((500, width), np.float32))[person] for width in widths]
    noisy = [np.maximum(x + 0.5 * rng.standard_normal(x.shape, np.float32), 0) for x in found]
    return Embeddings(noisy[0], noisy[1], np.zeros(count, np.int32), np.zeros(count, np.int32))


def wait_for_index(gallery: Gallery, uri: str, limit: float = 1800) -> float:
    """Wait until a server has built and loaded the index; return the seconds.

    Raises TimeoutError after ``limit`` seconds: a server builds indices at the lowest priority.
    """
    if "://" not in uri:
        return 0.0
    from rgcn_jax.gallery.milvus_collections import Client, parse_address  # needs the extra

    address, start = parse_address(uri), time.perf_counter()
    client = Client(address.uri)
    gallery.compact()
    for name in (f"{address.name}_appearance", f"{address.name}_pose"):
        while int((about := client.describe_index(name, "vector"))["pending_index_rows"]):
            if time.perf_counter() > start + limit:
                raise TimeoutError(f"{name}: {about}")
            time.sleep(0.5)
        client.release_collection(name)
        client.load_collection(name)
    return time.perf_counter() - start


def measure_milvus(uri: str, widths: Widths, count: int, folder: Path, seconds: float) -> None:
    """Print additions per second, milliseconds per query and recall of a gallery in Milvus."""
    exact, other = Gallery.open(folder / "exact", model(widths)), Gallery.open(uri, model(widths))
    wall = 0.0
    for start in range(0, count, BATCH):
        found = rectified(widths, start, min(BATCH, count - start))
        entries = [Entry(f"{start + i:07d}", "benchmark", camera_id=1 + i % 6) for i in range(len(found.person_ids))]
        exact.add(found, entries)
        begin = time.perf_counter()
        other.add(found, entries)
        wall += time.perf_counter() - begin
    indexed = wait_for_index(other, uri)
    print(f"{count:>9,}  {uri}: {count / wall:,.0f} added/s, indexed in {indexed:,.0f} s; ", end="", flush=True)
    queries = rectified(widths, 10**9, QUERIES)
    for by in ("appearance", "fused"):
        expected = exact.search(queries, k=K, by=by)
        times, hits, end = [], [], time.perf_counter() + seconds
        for i in range(QUERIES):
            begin = time.perf_counter()
            (found,) = other.search(Embeddings(*(column[i : i + 1] for column in queries)), k=K, by=by)
            times.append(time.perf_counter() - begin)
            hits.append(len({m.id for m in found} & {m.id for m in expected[i]}) / K)
            if time.perf_counter() > end:
                break
        print(f"{by}: {1000 * np.median(times):,.0f} ms a query, recall {np.mean(hits):.4f}; ", end="", flush=True)
    print()


def main() -> None:
    """Print one table per count."""
    parser = argparse.ArgumentParser(description="A gallery compared with faiss's exact index.")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000])
    parser.add_argument("--widths", type=int, nargs=2, default=WIDTHS, help="dimensions of appearance and pose")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--folder", help="folder for the galleries (default: a temporary folder)")
    parser.add_argument("--alone", action="store_true", help="without faiss, which holds all features in memory")
    parser.add_argument("--measure", nargs=3, metavar=("KIND", "FOLDER", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--milvus", metavar="URI", help="measure a new gallery there instead")
    known = parser.parse_args()
    widths: Widths = tuple(known.widths)
    if known.measure:
        kind, folder, count = known.measure
        print(json.dumps(measure(kind, Path(folder), widths, int(count), known.seconds)))
        return
    print(f"{machine()}; NumPy {np.__version__}; {widths} dimensions, k = {K}")
    if known.milvus:
        for count in known.counts:
            with tempfile.TemporaryDirectory(dir=known.folder) as folder:
                measure_milvus(known.milvus, widths, count, Path(folder), known.seconds)
        return
    print("tracklets  form         add/s  queries/s  queries/s     memory  open, first search")
    print("                                one each   64 each        MiB             seconds")
    for count in known.counts:
        with tempfile.TemporaryDirectory(dir=known.folder) as folder:
            added = fill(Path(folder) / "gallery", widths, count)
            results = {}
            for kind in ("gallery",) if known.alone else ("gallery", "faiss flat"):
                command = [sys.executable, "-m", "benchmarks.gallery", f"--seconds={known.seconds}"]
                command += ["--widths", *map(str, widths), "--measure", kind, f"{folder}/gallery", str(count)]
                results[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for kind, result in results.items():
                mine = kind == "gallery"
                own, of_files = result["memory"]
                rate, held = (added, f"{own:.0f} ({own + of_files:.0f})") if mine else (result["opened"], f"{own:.0f}")
                times = f"{result['opened']:.2f}, {result['first']:.2f}" if mine else "-"
                print(
                    f"{count:>9,}  {kind:<10}{rate:>8,.0f}{result['single']:>11.1f}{result['many']:>11.1f}"
                    f"{held:>15}{times:>20}",
                    flush=True,
                )
            if not known.alone:
                pairs = zip(*(result["found"] for result in results.values()), strict=True)
                same = np.mean([len({*a} & {*b}) for a, b in pairs]) / K
                print(f"           {100 * same:.2f} % of the {K} nearest are the same", flush=True)


if __name__ == "__main__":
    main()
