"""Every module that reads files is fuzzed by some test: the list, compared with the source."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rgcn_jax"


READS = {"open_file", "read_file", "read_text", "read_arrays", "read_json_lines", "load_file", "safe_open", "ZipFile"}
RUN_FILES = "tests/training/test_fuzz_run_files.py"
RESULTS = "tests/evaluation/test_fuzz_results.py"
GALLERY = "tests/gallery/test_fuzz_gallery.py"
DATA = "tests/data/test_fuzz_features_and_lists.py"
KEYPOINTS = "tests/data/keypoints/"
FUZZED = {
    "calibration.py": RUN_FILES,
    "config_io.py": RUN_FILES,
    "data/clips/precomputed.py": DATA,
    "data/datasets/images.py": "tests/data/datasets/test_images.py",
    "data/datasets/lists.py": DATA,
    "data/datasets/mat5.py": "tests/data/datasets/test_mat5.py",
    "data/datasets/matlab.py": DATA,
    "data/datasets/orientation.py": "tests/data/datasets/test_images.py",
    "data/features/__main__.py": "lines of text, no format",
    "data/features/files.py": DATA,
    "data/keypoints/arrays.py": f"{KEYPOINTS}test_arrays.py",
    "data/keypoints/coco_csv.py": f"{KEYPOINTS}test_coco_csv.py",
    "data/keypoints/formats.py": "looks at the first bytes",
    "data/keypoints/frame_files.py": f"{KEYPOINTS}test_openpose.py",
    "data/keypoints/json_stream.py": f"{KEYPOINTS}test_json_stream.py",
    "data/keypoints/store.py": f"{KEYPOINTS}test_store.py",
    "data/mot.py": "tests/data/datasets/test_fuzz.py",
    "data/prepared/format.py": "tests/data/prepared/test_fuzz_own_files.py",
    "data/prepared/reader.py": "tests/data/prepared/test_fuzz_own_files.py",
    "embedding_parts.py": RESULTS,
    "evaluation/attributes.py": RESULTS,
    "evaluation/feature_set.py": RESULTS,
    "experiments/cells.py": RESULTS,
    "experiments/robustness.py": RESULTS,
    "experiments/scored_run.py": RESULTS,
    "experiments/sweep.py": RESULTS,
    "export/model_card.py": RUN_FILES,
    "gallery/audit.py": GALLERY,
    "gallery/manifest.py": GALLERY,
    "gallery/segment.py": GALLERY,
    "gallery/server/uploads.py": GALLERY,
    "gallery/server/video_worker.py": DATA,
    "gallery/video.py": "hashes the tracks",
    "models/weight_files.py": DATA,
    "pose_detection/chunks.py": "tests/data/prepared/test_fuzz_own_files.py",
    "pose_detection/run.py": "hashes the model",
    "pose_detection/tfjs.py": DATA,
    "report/reported_run.py": RUN_FILES,
    "runtime/json_lines.py": RUN_FILES,
    "runtime/npz.py": RESULTS,
    "runtime/provenance.py": RUN_FILES,
    "runtime/workdir.py": "shows what a lock says",
    "torch_files/reader.py": "tests/torch_files/test_fuzz_torch_files.py",
    "training/inputs.py": RUN_FILES,
    "training/model_folder.py": RUN_FILES,
    "training/tracker.py": RUN_FILES,
    "training/writer.py": RUN_FILES,
}
"""Each module that reads files -> the test that fuzzes what it makes of them, or why there is nothing to fuzz."""


def test_every_module_that_reads_files_is_fuzzed():
    reads = set()
    for path in PACKAGE.rglob("*.py"):
        calls = [n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
        own = {"runtime/user_files.py", "runtime/cores.py"}
        own.add("data/clips/pipeline.py")  # TensorFlow's
        if names & READS and (name := str(path.relative_to(PACKAGE))) not in own:
            reads.add(name)
    reads -= {name for name in reads if name.startswith("export/runtimes/")}  # what the export has just written
    assert reads == set(FUZZED)
    for place in {place for place in FUZZED.values() if place.startswith("tests/")}:
        text = (PACKAGE.parent / place).read_text(encoding="utf-8")
        assert "hypothesis" in text or "spoilt" in text, place
