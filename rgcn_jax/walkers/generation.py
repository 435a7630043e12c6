"""Generation of the walkers data set: a ``Split`` whose frames and keypoints are computed on demand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from rgcn_jax.types import DISTRACTOR_ID, JUNK_ID, Split, Tracklet
from rgcn_jax.walkers.camera import View, draw_cameras, look
from rgcn_jax.walkers.detector import JUNK_MISSES, MISSES, Occluder, detect, draw_occluder
from rgcn_jax.walkers.dress import dress
from rgcn_jax.walkers.gait import Motion, walk
from rgcn_jax.walkers.mistakes import HIDDEN_MISSES, hidden_by_body, misplace, with_middle_neck
from rgcn_jax.walkers.outfit import Outfit, change_clothes, draw_changes, draw_outfits
from rgcn_jax.walkers.population import Person, draw_person, with_session_noise
from rgcn_jax.walkers.render import Painter, Place, draw_frames
from rgcn_jax.walkers.scenery import LENGTH, occluder_shapes, panorama
from rgcn_jax.walkers.session import draw_course, walk_course, with_another_posture
from rgcn_jax.walkers.spec import WalkersSpec

FRAMES_PER_SECOND = 12.5

# Purposes of the random streams; each is seeded by (seed, purpose, number).
_PEOPLE, _OUTFITS, _CAMERAS, _IDS, _TAKES, _PLACES = range(6)
_CHANGES = 100  # changes of clothes


@dataclass(frozen=True)
class _Take:
    """Parameters of one tracklet. ``number`` seeds its random streams; it is an index over shuffled takes and does not
    identify the person.
    """

    number: int
    person: Person
    outfit: Outfit
    camera: int
    frames: int
    is_junk: bool


@dataclass(frozen=True)
class _Shot:
    """A take with its motion and view, from which frames and keypoints are computed; ``turn``: radians to the left."""

    person: Person
    motion: Motion
    turn: Float64[np.ndarray, "f"]
    view: View
    occluder: Occluder | None


@dataclass(eq=False, repr=False)
class Walkers:
    """A synthetic data set, created by ``generate``.

    Attributes:
      spec: the settings.
      split: tracklets with frame names like those of MARS; the root is ".", since there are no files.
      look_alikes: groups of person ids that share an outfit, in training and test sets.
      people: body, gait and posture by person id.
      outfits: clothes by person id, the first of several.
    """

    spec: WalkersSpec
    split: Split
    look_alikes: tuple[tuple[int, ...], ...]
    people: dict[int, Person]
    outfits: dict[int, Outfit]
    _takes: dict[Tracklet, _Take]

    def __post_init__(self):
        self._cameras = draw_cameras(_rng(self.spec, _CAMERAS), self.spec.cameras, self.spec.views)
        self._panoramas: dict[int, np.ndarray] = {}

    def keypoints(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """Simulated detections: x and y in normalised coordinates of the crop, and a confidence in (0, 1]; (0, 0, 0)
        where not detected. Raises ValueError for a tracklet that is not of this data set.
        """
        take = self._take(tracklet)
        shot = self._film(take)
        xy, _, _ = shot.view.project(shot.motion.points[:, :14])
        misses = JUNK_MISSES if take.is_junk else MISSES
        right = shot.view.right
        sine = -(np.cos(shot.turn) * right[0] + np.sin(shot.turn) * right[1])
        if self.spec.self_occlusion or self.spec.keypoint_noise or self.spec.swaps:
            rng = _rng(self.spec, _TAKES, take.number, 5)
            hidden = hidden_by_body(shot.view, shot.motion)
            xy = misplace(xy, hidden, sine, rng, self.spec.keypoint_noise, self.spec.swaps)
            misses = misses + self.spec.self_occlusion * hidden * HIDDEN_MISSES
        found = detect(xy, sine, shot.occluder, _rng(self.spec, _TAKES, take.number, 2), misses)
        share = self.spec.neck_from_shoulders
        if share and _rng(self.spec, _TAKES, take.number, 6).random() < share:
            found = with_middle_neck(found)
        return found

    def frames(self, tracklet: Tracklet, height: int, width: int) -> UInt8[np.ndarray, "f h w 3"]:
        """Render the crops of a tracklet, RGB, at a size in pixels (designed for 64 x 32 to 256 x 128).

        Raises ValueError for a tracklet that is not of this data set, and for a size that is not positive.
        """
        if height < 1 or width < 1:
            raise ValueError(f"height and width of a crop are {height} x {width}: expected positive numbers.")
        take = self._take(tracklet)
        shot = self._film(take)
        camera = self._cameras[take.camera - 1]
        rng = _rng(self.spec, _TAKES, take.number, 3)
        # Clothes fit slightly differently in every tracklet.
        loose, hem = float(np.exp(rng.normal(0, 0.08))), float(rng.uniform(-0.03, 0.03))
        figure = dress(shot.person, shot.motion, take.outfit, loose, hem)
        painter = Painter(figure, shot.view, camera, height, width)
        speed = shot.person["cadence"] * 1.35 / FRAMES_PER_SECOND  # metres per frame, approximately
        place = Place(
            self._panorama(take.camera),
            rng.uniform(0, LENGTH),
            speed * float(shot.view.right[0]) / float(np.median(shot.view.size)),
            shot.occluder,
            [] if shot.occluder is None else occluder_shapes(shot.occluder.kind, rng),
        )
        return draw_frames(painter, shot.view, place, rng, height, width)

    def _take(self, tracklet: Tracklet) -> _Take:
        if tracklet not in self._takes:
            raise ValueError(f"the tracklet of {tracklet.frames[:1]} is not of this data set (seed {self.spec.seed}).")
        return self._takes[tracklet]

    def _panorama(self, camera: int) -> UInt8[np.ndarray, "h w 3"]:
        if camera not in self._panoramas:
            self._panoramas[camera] = panorama(self._cameras[camera - 1], _rng(self.spec, _PLACES, camera))
        return self._panoramas[camera]

    def _film(self, take: _Take) -> _Shot:
        """Compute the person's motion and the camera's view."""
        rng = _rng(self.spec, _TAKES, take.number, 1)
        person = with_session_noise(take.person, rng, self.spec.session_noise)
        start, spec = rng.uniform(0, 2 * np.pi), self.spec
        turn = np.zeros(take.frames)
        if spec.speed_variation or spec.slowing or spec.turning or spec.posture_changes:
            session = _rng(self.spec, _TAKES, take.number, 4)
            person = with_another_posture(person, session, spec.posture_changes)
            course = draw_course(session, take.frames, FRAMES_PER_SECOND, spec)
            motion, turn = walk_course(person, start, course, FRAMES_PER_SECOND), course.turn
        else:
            motion = walk(person, start + 2 * np.pi * person["cadence"] / FRAMES_PER_SECOND * np.arange(take.frames))
        view = look(self._cameras[take.camera - 1], rng, motion.points)
        if take.is_junk:
            view = view.missed(rng)
        return _Shot(person, motion, turn, view, draw_occluder(rng, take.frames))


def _rng(spec: WalkersSpec, *key: int) -> np.random.Generator:
    return np.random.default_rng([spec.seed, *key])


def generate(spec: WalkersSpec) -> Walkers:
    """Plan a data set of walkers; frames and keypoints are computed later for each tracklet.

    There is one query for each test person and camera. The gallery holds all test tracklets, including queries (the
    official MARS protocol), and the distractors, sorted by name.
    """
    count = spec.train_identities + spec.test_identities
    rng = _rng(spec, _PEOPLE)
    people = [draw_person(rng, spec.variation) for _ in range(count + spec.distractors + spec.junk)]
    groups = count // spec.group_size
    owners = groups + spec.distractors + spec.junk
    outfits = draw_outfits(_rng(spec, _OUTFITS), owners + groups * (spec.outfits_per_identity - 1))
    worn = [outfits[i // spec.group_size] for i in range(count)] + outfits[groups:owners]
    further = [outfits[owners + i // spec.group_size :: groups] for i in range(count)]
    changes = draw_changes(_rng(spec, _CHANGES), count, spec)
    # Ids reveal neither the group nor the subset.
    ids = (1 + _rng(spec, _IDS).permutation(count)).tolist()

    rng = _rng(spec, _TAKES)
    wanted = []  # (folder, id as text, person id, index of the person, camera, number of the tracklet, is junk)
    for i, person_id in enumerate(ids):
        folder = "bbox_train" if i < spec.train_identities else "bbox_test"
        number = 0
        for camera in range(1, spec.cameras + 1):
            for _ in range(spec.tracklets_per_camera):
                number += 1
                wanted.append((folder, f"{person_id:04}", person_id, i, camera, number, False))
    for text, person_id, extra, first, is_junk in (
        ("0000", DISTRACTOR_ID, spec.distractors, count, False),
        ("00-1", JUNK_ID, spec.junk, count + spec.distractors, True),
    ):
        # As evenly distributed over the cameras as possible, in random order.
        for n, camera in enumerate(rng.permutation(np.arange(extra) % spec.cameras + 1).tolist()):
            wanted.append(("bbox_test", text, person_id, first + n, camera, n + 1, is_junk))

    takes: dict[Tracklet, _Take] = {}
    lengths = rng.integers(spec.min_frames, spec.max_frames + 1, len(wanted)).tolist()
    for order, length, (folder, text, person_id, i, camera, number, is_junk) in zip(
        rng.permutation(len(wanted)).tolist(), lengths, wanted, strict=True
    ):
        change = int(changes[i, camera - 1, (number - 1) % spec.tracklets_per_camera]) if i < count else 0
        clothes = change + 1 if i < count and spec.outfits_per_identity > 1 else 0
        stem = f"{folder}/{text}/{text}C{camera}T{number:04}"  # names as in MARS
        tracklet = Tracklet(tuple(f"{stem}F{f:03}.jpg" for f in range(1, length + 1)), person_id, camera, clothes)
        outfit = change_clothes(worn[i], further[i][change - 1]) if change else worn[i]
        takes[tracklet] = _Take(order, people[i], outfit, camera, length, is_junk)

    by_name = sorted(takes, key=lambda t: t.frames[0])
    test = [t for t in by_name if t.frames[0].startswith("bbox_test") and t.person_id > 0]
    choice = rng.integers(0, spec.tracklets_per_camera, (len(test) // spec.tracklets_per_camera,)).tolist()
    look_alikes = tuple(tuple(ids[g * spec.group_size : (g + 1) * spec.group_size]) for g in range(groups))
    split = Split(
        name="walkers",
        root=Path("."),
        train=tuple(t for t in by_name if t.frames[0].startswith("bbox_train")),
        query=tuple(test[n * spec.tracklets_per_camera + pick] for n, pick in enumerate(choice)),
        gallery=tuple(t for t in by_name if t.frames[0].startswith("bbox_test") and t.person_id != JUNK_ID),
        junk=tuple(t for t in by_name if t.person_id == JUNK_ID),
        look_alikes=look_alikes if spec.group_size > 1 else (),
    )
    named = dict(zip(ids, people[:count], strict=True)), dict(zip(ids, worn[:count], strict=True))
    return Walkers(spec, split, look_alikes, *named, takes)
