"""The page of a gallery over HTTP: access, browsing, uploads and their limits, searches, exports, the audit log."""

import csv
import io
import json
import shutil
import stat
import subprocess
import sys
import urllib.request
import zipfile
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest
from starlette.testclient import TestClient

from rgcn_jax.__main__ import dispatch
from rgcn_jax.data.mot_tracks import Box
from rgcn_jax.errors import InputError
from rgcn_jax.gallery import Gallery, Where, audit
from rgcn_jax.gallery.server import uploads, video_worker
from rgcn_jax.gallery.server.access import Guard
from rgcn_jax.gallery.server.app import make_app
from rgcn_jax.gallery.server.follow import follow
from rgcn_jax.gallery.server.queries import Queries
from rgcn_jax.gallery.server.videos import Videos
from scripts.walkers_gallery import write_video
from tests.commands import REPOSITORY, fails
from tests.faults.test_disk import full_after
from tests.gallery import small_world

pytestmark = pytest.mark.jit
TOKEN, HOST = "a-token", "127.0.0.1:8000"
LIMIT = 2**20


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with jax.disable_jit(False):
        return small_world.make(tmp_path_factory.mktemp("server"))


def open_page(world, people, folder, detect=None, headers=None):
    opened, queries = Gallery.open(people, world.embedder), Queries(world.embedder, detect)
    app = Guard(make_app(opened, queries, Videos(folder)), {TOKEN: "ann", "b-token": "bob"}, {HOST}, LIMIT)
    return TestClient(app, base_url=f"http://{HOST}", headers=headers or {"authorization": f"Bearer {TOKEN}"})


@pytest.fixture
def page(world, tmp_path):
    people = shutil.copytree(world.people, tmp_path / "people")
    (tmp_path / "videos").mkdir()
    client = open_page(world, people, tmp_path / "videos")
    return SimpleNamespace(client=client, people=people, videos=tmp_path / "videos")


def log(people):
    path = people / audit.AUDIT_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def jpeg(frame):
    return cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def crops_of(world, i):
    return [("files", (f"{n}.jpg", jpeg(frame))) for n, frame in enumerate(world.frames[i])]


def decoded(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def npz(array):
    data = io.BytesIO()
    np.savez(data, keypoints=array)
    return data.getvalue()


def refused(response, problem, status=400):
    assert response.status_code == status, response.text
    assert problem in response.json()["error"]


def test_nothing_is_answered_without_the_token(world, page):
    client = open_page(world, page.people, page.videos, headers={"x": "y"})
    for path in ("/", "/page.js", "/api/gallery", "/strip/1.jpg", "/?token=wrong"):
        assert client.get(path).status_code == 401
    assert client.post("/api/search", json={"query": {"entry": 1}}).status_code == 401
    entered = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert {"httponly", "samesite=strict"} <= set(entered.headers["set-cookie"].lower().split("; "))
    assert "Gallery search" in client.get("/").text
    assert client.get("/api/gallery").json()["user"] == "ann"


def test_other_hosts_other_sites_and_large_requests_are_refused(page):
    ask = page.client.post
    assert page.client.get("/", headers={"host": "evil.example:8000"}).status_code == 421
    search = {"query": {"entry": 1}}
    assert ask("/api/search", json=search, headers={"origin": "http://evil.example"}).status_code == 403
    assert ask("/api/search", json=search, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert ask("/api/search", json=search, headers={"origin": f"http://{HOST}"}).status_code == 200
    assert ask("/api/search", content=b"x" * (LIMIT + 1)).status_code == 413
    assert ask("/api/search", content=(b"x" * 2**16 for _ in range(20))).status_code == 413  # of unknown length
    assert ask("/api/search", content=b"x", headers={"content-length": "9" * 5000}).status_code == 413
    refused(ask("/api/search", content=b"{" * 10), "JSON")


def test_no_page_may_load_anything_from_elsewhere(page):
    for path in ("/", "/page.js", "/page.css", "/query.js", "/box.js", "/strip/1.jpg", "/nothing"):
        found = page.client.get(path)
        policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert found.headers["cache-control"] == "no-store"
        if "text" in found.headers["content-type"]:
            assert "http://" not in found.text
            assert "https://" not in found.text
            assert "innerHTML" not in found.text


def test_entries_are_listed_by_camera(page, world):
    about = page.client.get("/api/gallery").json()
    assert (about["entries"], about["cameras"], about["with_pose"]) == (12, [1, 2], True)
    found = page.client.post("/api/entries", json={"cameras": [2]}).json()
    assert [entry["id"] for entry in found["entries"]] == list(range(7, 13))
    assert found["entries"][0]["tracklet"] == world.entries[6].tracklet
    assert page.client.post("/api/entries", json={"offset": 10}).json()["entries"][0]["id"] == 11
    plain, drawn = (page.client.get(f"/strip/3.jpg{query}") for query in ("", "?skeletons"))
    assert plain.headers["content-type"] == "image/jpeg"
    images = [decoded(r.content) for r in (plain, drawn)]
    assert images[0].shape == images[1].shape
    assert images[0].shape[0] == 96
    assert 0.01 < np.mean(np.abs(images[0].astype(int) - images[1]).max(axis=2) > 60) < 0.6
    refused(page.client.get("/strip/99.jpg"), "no entry 99", 404)


@pytest.mark.parametrize("by", ["fused", "appearance", "pose", (0.25, 0.75)])
def test_a_search_is_that_of_the_gallery(page, world, by):
    asked = {"query": {"entry": 4}, "by": by, "k": 5}
    found = page.client.post("/api/search", json=asked).json()["matches"]
    expected = world.gallery.similar(4, k=5, by=by)
    assert [(m["id"], m["distance"]) for m in found] == [(m.id, m.distance) for m in expected]
    filtered = page.client.post("/api/search", json={**asked, "cameras": [2], "after": "2025-11-24T16:00"}).json()
    where = Where(cameras=[2], after=1764000000.0)
    assert [m["id"] for m in filtered["matches"]] == [m.id for m in world.gallery.similar(4, k=5, by=by, where=where)]


def test_an_upload_is_embedded_and_searched(page, world):
    points = ("keypoints", ("k.npz", npz(world.keypoints[7])))
    found = page.client.post("/api/queries", files=[*crops_of(world, 7), points])
    assert found.status_code == 200, found.text
    assert (found.json()["frames"], found.json()["keypoints"]) == (len(world.frames[7]), "file")
    query = {"upload": found.json()["upload"]}
    matches = page.client.post("/api/search", json={"query": query, "k": 3}).json()["matches"]
    assert matches[0]["id"] == 8
    assert matches[0]["distance"] < 0.1  # of JPEG
    assert page.client.get(f"/upload/{query['upload']}.jpg?skeletons").status_code == 200
    assert page.client.delete(f"/api/queries/{query['upload']}").status_code == 200
    refused(page.client.post("/api/search", json={"query": query}), "any more", 404)


def test_an_archive_without_keypoints_is_searched_by_appearance_only(page, world):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for n, frame in enumerate(world.frames[2]):
            archive.writestr(f"../../walk/{n}.jpg", jpeg(frame))
        archive.writestr("__MACOSX/._0.jpg", b"nothing")
        archive.writestr("readme.txt", b"nothing")
    found = page.client.post("/api/queries", files=[("files", ("walk.zip", data.getvalue()))]).json()
    assert (found["frames"], found["keypoints"]) == (len(world.frames[2]), None)
    query = {"upload": found["upload"]}
    for by in ("fused", "pose", [0.5, 0.5]):
        refused(page.client.post("/api/search", json={"query": query, "by": by}), "no keypoints")
    matches = page.client.post("/api/search", json={"query": query, "by": "appearance"}).json()["matches"]
    assert matches[0]["id"] == 3


def test_keypoints_are_detected_where_there_is_a_detector(page, world):
    client = open_page(world, page.people, page.videos, detect=lambda frames: world.keypoints[5])
    found = client.post("/api/queries", files=crops_of(world, 5)).json()
    assert found["keypoints"] == "detector"
    matches = client.post("/api/search", json={"query": {"upload": found["upload"]}, "by": "pose"}).json()["matches"]
    assert (matches[0]["id"], matches[0]["distance"]) == (6, 0)


def zipped(name, content):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return data.getvalue()


def huge():
    return cv2.imencode(".png", np.zeros((8192, 8192), np.uint8))[1].tobytes()


def test_wrong_uploads_are_one_sentence(page, world, monkeypatch):
    good = crops_of(world, 0)
    for files, problem in [
        ([("files", ("a.txt", b"x"))], "a.txt"),
        ([("files", ("a.jpg", b"x"))], "a.jpg"),
        ([("files", ("a.jpg", good[0][1][1][:-200]))], "a.jpg"),
        ([("files", ("a.zip", b"x"))], "a.zip"),
        ([("files", ("a.zip", zipped(f"{'1' * 5000}.jpg", good[0][1][1])))], "the name"),
        ([("files", ("a.zip", zipped("a.jpg", bytes(3 * uploads.MAX_PIXELS + 1))))], "unpacks"),
        ([("files", ("a.png", huge()))] * 2, "same name"),
        ([("files", ("a.png", huge())), ("files", ("b.png", huge()))], "pixels together"),
        ([*good, ("keypoints", ("k.npz", npz(world.keypoints[0][1:])))], "expected"),
        ([*good, ("keypoints", ("k.npz", npz(100 * world.keypoints[0])))], "normalised"),
        ([*good, ("keypoints", ("k.npz", b"x"))], "k.npz"),
        ([("keypoints", ("k.npz", b"x"))], "no image"),
    ]:
        refused(page.client.post("/api/queries", files=files), problem)
    monkeypatch.setattr(uploads, "MAX_FRAMES", 2)
    refused(page.client.post("/api/queries", files=crops_of(world, 0)), "more than 2")
    assert log(page.people) == []
    for asked, problem in [
        ({}, "query"),
        ({"query": {"entry": "1"}}, "entry"),
        ({"query": {"entry": 99}}, "no entry 99"),
        ({"query": {"entry": 1}, "by": "gait"}, "gait"),
        ({"query": {"entry": 1}, "by": [0, 0]}, "weights"),
        ({"query": {"entry": 1}, "by": [1, float("1e999")]}, "by"),
        ({"query": {"entry": 1}, "k": 10**6}, "k is"),
        ({"query": {"entry": 1}, "after": "yesterday"}, "after"),
        ({"query": {"entry": 1}, "cameras": 1}, "cameras"),
        ({"query": {"entry": 1}, "colour": 1}, "colour"),
    ]:
        response = page.client.post("/api/search", content=json.dumps(asked))
        refused(response, problem, 404 if "no entry" in problem else 400)


@pytest.fixture
def video(world, tmp_path):
    """Two persons side by side, 24 frames."""
    walkers = small_world.generate(small_world.SPEC)
    chosen = [t for t in walkers.split.gallery if t.camera_id == 1][:2]
    write_video(tmp_path, 1, chosen, walkers, (128, 64), 10)
    return tmp_path / "cam1.mp4", tmp_path / "cam1.txt", len(chosen[0].frames)


def test_a_person_of_a_video_is_cut_out_by_a_track_or_a_box(page, world, video):
    movie, tracks, count = video
    files = {"video": ("v.mp4", movie.read_bytes()), "tracks": ("t.txt", tracks.read_bytes())}
    found = page.client.post("/api/videos", files=files).json()
    assert (found["width"], found["height"]) == (128, 128)
    track = found["tracks"][0]
    first = page.client.get(f"/video/{found['video']}.jpg").content
    assert decoded(first).shape == (128, 128, 3)
    person = f"/api/videos/{found['video']}/person"
    by_track = page.client.post(person, json={"track": track[0]}).json()
    assert by_track["frames"] == track[1] == count
    by_box = page.client.post(person, json={"box": [0, 0, 64, 128]}).json()
    assert 1 <= by_box["frames"] <= count
    assert "tracker" in by_box["notes"][0]
    for wrong, problem in [
        ({"box": [0, 0, 4, 4]}, "box"),
        ({"box": [100, 0, 64, 128]}, "box"),
        ({"box": "all"}, "box"),
        ({"track": 999}, "999"),
    ]:
        refused(page.client.post(person, json=wrong), problem)
    with full_after(500):
        refused(page.client.post(person, json={"track": track[0]}), "cannot keep")
    alone = page.client.post("/api/videos", files={"video": files["video"]}).json()
    assert alone["tracks"] == []
    refused(page.client.post(f"/api/videos/{alone['video']}/person", json={"track": track[0]}), "no track")
    for data in (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n", movie.read_bytes()[:64]):
        refused(page.client.post("/api/videos", files={"video": ("v.mp4", data)}), "video")
    assert len(list(page.videos.iterdir())) == 2  # of those that could be decoded


def test_a_video_that_takes_too_long_is_refused(page, video, monkeypatch):
    def late(*arguments, **options):
        raise subprocess.TimeoutExpired("python", 1)

    monkeypatch.setattr(video_worker.subprocess, "run", late)
    refused(page.client.post("/api/videos", files={"video": ("v.mp4", video[0].read_bytes())}), "seconds")
    assert list(page.videos.iterdir()) == []


def test_the_tracker_follows_a_textured_patch_and_stops_when_it_is_gone():
    rng = np.random.default_rng(0)
    person = cv2.resize(rng.integers(0, 255, (16, 8, 3), np.uint8), (40, 80), interpolation=cv2.INTER_CUBIC)
    frames = []
    for t in range(20):
        frame = np.full((160, 320, 3), 90, np.uint8)
        if t < 15:
            left, top = 20 + 6 * t, 30 + 2 * t
            frame[top : top + 80, left : left + 40] = person
        frames.append(frame)
    found = list(follow(frames, Box(0, 1, 1, 20, 30, 40, 80)))
    assert len(found) == 15
    for t, (_, box) in enumerate(found):
        assert abs(box.left - (20 + 6 * t)) < 4
        assert abs(box.top - (30 + 2 * t)) < 4


def test_a_list_is_exported_with_marks_and_without_formulas(page, world):
    asked = {"query": {"entry": 1}, "k": 4, "marks": {"2": "right", "3": "wrong"}}
    found = page.client.post("/api/search", json={"query": {"entry": 1}, "k": 4}).json()["matches"]
    response = page.client.post("/api/export", json={**asked, "format": "csv"})
    assert "attachment" in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [int(row["id"]) for row in rows] == [m["id"] for m in found]
    assert [float(row["distance"]) for row in rows] == [m["distance"] for m in found]
    assert all(row["source"] == "'=cmd()" for row in rows)
    assert {int(row["id"]): row["mark"] for row in rows if row["mark"]} == {
        i: mark for i, mark in ((2, "right"), (3, "wrong")) if i in [m["id"] for m in found]
    }
    content = page.client.post("/api/export", json={**asked, "format": "json"}).json()
    assert [m["id"] for m in content["matches"]] == [m["id"] for m in found]
    assert content["query"]["id"] == 1
    refused(page.client.post("/api/export", json={**asked, "format": "exe"}), "format")
    refused(page.client.post("/api/export", json={**asked, "format": "csv", "marks": {"2": "maybe"}}), "marks")


def test_who_searched_for_what_is_logged_and_a_removed_person_is_erased(page, world):
    search = page.client.post("/api/search", json={"query": {"entry": 1}, "k": 11, "cameras": [1, 2]}).json()
    bob = {"authorization": "Bearer b-token"}
    page.client.post("/api/search", json={"query": {"entry": 2}, "k": 11, "by": "pose"}, headers=bob)
    upload = page.client.post("/api/queries", files=crops_of(world, 0)).json()["upload"]
    page.client.post("/api/search", json={"query": {"upload": upload}, "by": "appearance", "k": 12})
    page.client.post("/api/export", json={"query": {"entry": 3}, "k": 2, "format": "csv"})
    lines = log(page.people)
    assert [(line["user"], line["action"]) for line in lines] == [
        ("ann", "search"), ("bob", "search"), ("ann", "upload"), ("ann", "search"), ("ann", "export"),
    ]  # fmt: skip
    assert lines[0]["found"] == [m["id"] for m in search["matches"]]
    assert (lines[0]["query"], lines[0]["cameras"], lines[1]["by"]) == ({"entry": 1}, [1, 2], "pose")
    assert lines[2]["query"] == lines[3]["query"]
    assert stat.S_IMODE((page.people / audit.AUDIT_FILE).stat().st_mode) == 0o600
    person = world.entries[0].person_id
    mine = {i for i, e in enumerate(world.entries, 1) if e.person_id == person}
    dispatch(["gallery", "remove", f"--gallery={page.people}", f"--person={person}"])
    left = log(page.people)
    assert [line["query"].get("entry") for line in left] == [2, None, None, 3]
    assert not any(mine & set(line.get("found", ())) for line in left)
    assert sorted(left[0]["found"]) == sorted(set(lines[1]["found"]) - mine)
    refused(page.client.get(f"/strip/{min(mine)}.jpg"), "no entry", 404)
    assert not list(page.people.glob(f"crops/walk/{person}/**/*.jpg"))


def test_a_search_that_cannot_be_logged_is_not_answered(page, monkeypatch):
    def full(*arguments):
        raise InputError("audit.jsonl cannot be written")

    monkeypatch.setattr("rgcn_jax.gallery.server.app.record", full)
    refused(page.client.post("/api/search", json={"query": {"entry": 1}}), "audit.jsonl")


def test_a_damaged_log_is_an_error_that_names_the_line(page):
    (page.people / audit.AUDIT_FILE).write_text('{"query": {"entry": 1}}\nnothing\n')
    with pytest.raises(InputError, match="line 2"):
        Gallery.open(page.people).remove(Where(ids=[5]))
    assert Gallery.open(page.people).count() == 12


@pytest.mark.slow
def test_the_command_serves_at_any_loopback_address(world):
    command = [sys.executable, "-m", "rgcn_jax", "gallery", "serve", f"--gallery={world.people}"]
    command += [f"--model={world.model}", "--port=0", "--user=ann", "--host=127.0.0.2"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("ann: ")).removeprefix("ann: ").strip()
        assert address.startswith("http://127.0.0.2:")
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(address, timeout=60) as answer:
            assert b"Gallery search" in answer.read()
        process.terminate()
        assert process.wait(60) == 0


def test_other_addresses_are_refused(world, capsys):
    serve = ["gallery", "serve", f"--gallery={world.people}", f"--model={world.model}"]
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        assert "--allow-remote" in fails(lambda arguments: dispatch(arguments), [*serve, f"--host={host}"], capsys)
    assert "no gallery" in fails(lambda a: dispatch(a), ["gallery", "serve", "--gallery=x", "--model=y"], capsys)
