"""End-to-end check of galleries: enrolled and searched videos of walkers must rank as in the evaluation.

    python -m scripts.walkers_gallery --model=runs/walkers --out=/tmp/walkers_gallery --kills=3

Renders the test identities of the model's walkers as one video per camera (``cam1.mp4``), with tracks in MOTChallenge's
format (``cam1.txt``) and keypoints of the crops (``keypoints.npz``). Adds them by ``rgcn-jax gallery add``, which is
killed several times, and evaluates the same crops by ``rgcn-jax evaluate``. Then searches for the tracklets of camera 1
by ``rgcn-jax gallery search`` and compares mAP and Rank-1. The exit status is 1 if they differ.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from rgcn_jax.saved_model import open_model
from rgcn_jax.types import Tracklet
from rgcn_jax.walkers import generate
from rgcn_jax.walkers.generation import Walkers

CAMERAS = 4
START = "2026-11-30T09:00"


def write_video(
    folder: Path, camera: int, tracklets: Sequence[Tracklet], walkers: Walkers, size: tuple[int, int], rate: float
) -> dict[str, np.ndarray]:
    """Write a video with its persons in separate columns, and its track file.

    Args:
      folder: folder of ``camN.mp4`` and ``camN.txt``.
      camera: N.
      tracklets: tracklets of the camera, one per person.
      walkers: the data set of the tracklets.
      size: height and width of a person in pixels; a crop is twice as high as wide.
      rate: frames per second.

    Returns:
      Keypoints [14, 3] by the name that ``gallery add`` gives a crop.
    """
    height, width = size
    shown = [(t.person_id, walkers.frames(t, height, width), walkers.keypoints(t)) for t in tracklets]
    writer = cv2.VideoWriter(
        str(folder / f"cam{camera}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width * len(shown), height)
    )
    if not writer.isOpened():
        raise SystemExit("OpenCV cannot write MP4 here.")
    lines, keypoints = [], {}
    for t in range(max(len(frames) for _, frames, _ in shown)):
        image = np.zeros((height, width * len(shown), 3), np.uint8)
        for column, (person, frames, points) in enumerate(shown):
            if t < len(frames):
                image[:, width * column : width * (column + 1)] = frames[t]
                lines.append(f"{t + 1},{person},{width * column},0,{width},{height},1")
                keypoints[f"{person}/{camera}/0001/{person:04}_c{camera}_f{t + 1:06}.jpg"] = points[t]
        writer.write(image[..., ::-1])
    writer.release()
    (folder / f"cam{camera}.txt").write_text("\n".join(lines))
    return keypoints


def write_keypoints(path: Path, keypoints: Mapping[str, np.ndarray]) -> None:
    """Write the keypoints of all crops to an array file, for the subsets query and gallery."""
    names = [f"{subset}/{name}" for subset in ("gallery", "query") for name in keypoints]
    np.savez(path, names=names, keypoints=[*keypoints.values(), *keypoints.values()], units="shares")


def video_flags(folder: Path, camera: int) -> list[str]:
    """The flags of ``gallery add`` for one video."""
    video = [f"--video={folder}/cam{camera}.mp4", f"--tracks={folder}/cam{camera}.txt", f"--camera={camera}"]
    return [*video, f"--keypoints={folder}/keypoints.npz", f"--start={START}", "--tracks-are-persons"]


def as_data_set(crops: Path, root: Path) -> None:
    """Arrange the crops of a gallery as a data set in the layout ``folder``, with queries from camera 1."""
    for video in sorted(crops.iterdir()):
        shutil.copytree(video / "gallery", root / "gallery", dirs_exist_ok=True)
    for one in (root / "gallery").glob("*/1"):
        shutil.copytree(one, root / "query" / one.relative_to(root / "gallery"))


def scores(queries: Sequence[Mapping]) -> tuple[float, float]:
    """Compute mAP and Rank-1 in per cent of ranked lists in a search's JSON, ignoring the same person in the query's
    camera.
    """
    precisions, first = [], []
    for found in queries:
        person, camera = found["query"]["person_id"], found["query"]["camera_id"]
        ranked = [m["entry"] for m in found["matches"]]
        kept = [e for e in ranked if (e["person_id"], e["camera_id"]) != (person, camera)]
        hits = np.array([e["person_id"] == person for e in kept])
        precisions.append(np.mean(np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)))
        first.append(hits[0])
    return float(100 * np.mean(precisions)), float(100 * np.mean(first))


def killed_after(arguments: Sequence[str], tracklets: int) -> None:
    """Run ``gallery add`` and kill it (SIGKILL) after a number of tracklets."""
    command = [sys.executable, "-m", "rgcn_jax", "gallery", "add", *arguments, "--save-every=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"added {tracklets} of"):
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("gallery add ended before it was killed.")


def command(*arguments: str) -> None:
    """Run a command of ``rgcn-jax``."""
    subprocess.run([sys.executable, "-m", "rgcn_jax", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Render, add, evaluate, search and compare."""
    parser = argparse.ArgumentParser(description="Videos of walkers, enrolled and searched.")
    parser.add_argument("--model", required=True, help="a run on walkers")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--gallery", help="default: people in the folder; FILE.db for Milvus Lite; milvus://...")
    parser.add_argument("--kills", type=int, default=3, help="number of kills of gallery add; at most one per camera")
    parser.add_argument("--persons", type=int, default=20)
    known = parser.parse_args()
    out, model = known.out, f"--model={known.model}"
    config = open_model(known.model).config
    out.mkdir(parents=True)
    walkers = generate(config.data.walkers)
    keypoints: dict[str, np.ndarray] = {}
    for camera in range(1, CAMERAS + 1):
        of_camera: dict[int, Tracklet] = {}
        for t in walkers.split.gallery:
            if t.camera_id == camera and t.person_id > 0:
                of_camera.setdefault(t.person_id, t)
        chosen = [of_camera[person] for person in sorted(of_camera)[: known.persons]]
        height, width = config.frame_size
        keypoints |= write_video(out, camera, chosen, walkers, (height, width), 10)
    write_keypoints(out / "keypoints.npz", keypoints)
    people = known.gallery or str(out / "people")
    files = [f"--files={out / 'files'}"] if "://" in people else []
    for camera in range(1, CAMERAS + 1):
        add = [f"--gallery={people}", model, *files, *video_flags(out, camera)]
        if camera <= known.kills:
            killed_after(add, 1 + camera)
        command("gallery", "add", *add, "--save-every=5")
    folder = out / "files" if files else Path(f"{people}.files" if people.endswith(".db") else people)
    as_data_set(folder / "crops", out / "data")
    data = ["--dataset=folder", f"--root={out / 'data'}", f"--keypoints={out / 'keypoints.npz'}"]
    command("evaluate", model, *data, f"--save-features={out / 'f.npz'}", f"--out={out / 'evaluation.json'}")
    evaluated = json.loads((out / "evaluation.json").read_text())["protocols"]["official"]
    same = True
    for row in ("fused", "appearance", "pose"):
        if row not in evaluated:
            continue
        result = out / f"{row}.json"
        search = [f"--gallery={people}", model, *files, f"--features={out / 'f.npz'}", f"--by={row}"]
        command("gallery", "search", *search, "-k", str(2 * CAMERAS * known.persons), f"--out={result}")
        found = scores(json.loads(result.read_text())["queries"])
        expected = evaluated[row]["mAP"], evaluated[row]["rank1"]
        print(f"{row:<10}  gallery: mAP {found[0]:.6f}, Rank-1 {found[1]:.4f}  ", end="")
        print(f"evaluation: mAP {expected[0]:.6f}, Rank-1 {expected[1]:.4f}", flush=True)
        same &= bool(np.allclose(found, expected, rtol=0, atol=1e-9))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
