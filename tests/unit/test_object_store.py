"""Runs on an object store: what is kept when, who may write, and what happens while the store is away."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genrm_rl.config import ModelConfig, RunConfig
from genrm_rl.config.bootstrap import RunSettings
from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.config.watching import WatchConfig
from genrm_rl.errors import ModelError, RunDirectoryError
from genrm_rl.labelling.book import TOKENS, Book, read_desk
from genrm_rl.labelling.types import Label, Task
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.models.inspection import inspect_directory
from genrm_rl.pages.live import Watcher
from genrm_rl.preferences.types import Message
from genrm_rl.runtime import lease, object_store
from genrm_rl.runtime.object_store import fetch, light, move_tree, upload_tree
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.status import read_status
from genrm_rl.runtime.storage import is_complete, publish_directory, remove_tree, write_atomic, write_json
from genrm_rl.runtime.store_paths import working_path
from tests.s3 import BUCKET, S3Server, use
from tests.unit import run_examples


@pytest.fixture
def server(s3_server: S3Server) -> S3Server:
    return s3_server


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The server, and an empty machine."""
    use(server, monkeypatch, tmp_path / "here")
    return server


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A folder of runs that no other test uses."""
    return f"s3://{BUCKET}/{request.node.name}"


def run_of(root: str, **changes: object) -> RunConfig:
    return RunConfig(run=RunSettings(id="r", root=root, **changes))


def other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on: no working copies, another name."""
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    monkeypatch.setattr(lease, "owner", lambda: "there/1:1")


def test_a_directory_without_a_store_is_left_alone(tmp_path: Path):
    assert working_path("runs") == Path("runs") and working_path(f"file://{tmp_path}") == tmp_path
    assert object_store.stored(tmp_path) is None and not object_store.exists(tmp_path)


@pytest.mark.parametrize("bad", ["s3://", "ftp://host/x", "s3://bucket?region=x"])
def test_a_uri_that_is_no_place_for_runs_is_named(bad: str):
    with pytest.raises(RunDirectoryError, match="no place for runs or models"):
        working_path(bad)


def test_a_bucket_that_does_not_exist_is_refused_at_once(s3):
    with pytest.raises(RunDirectoryError, match="the store refuses s3://nowhere"):
        RunDirectory(run_of("s3://nowhere/runs"))


def test_a_stage_is_kept_with_its_marker_last_and_read_on_another_machine(s3, root, monkeypatch, tmp_path):
    written = []
    put = object_store._put
    monkeypatch.setattr(object_store, "_put", lambda file, place: (written.append(file.name), put(file, place)))
    with RunDirectory(run_of(root)) as run:
        run.stage("one", lambda folder: write_atomic(folder / "a.txt", "A") and {"n": 1})
        (run.path / ".x.tmp").write_text("never kept")
    assert written[-2:] == ["a.txt", "_COMPLETE.json"]
    other_machine(monkeypatch, tmp_path)
    check_exists(RunSettings(id="r", root=root))
    with RunDirectory(run_of(root)) as again:
        assert again.resumed and again.manifest("one")["n"] == 1
        assert (again.path / "one/a.txt").read_text() == "A"
        again.stage("one", lambda folder: pytest.fail("computed twice"))
        assert not (again.path / ".x.tmp").exists()
    with pytest.raises(RunDirectoryError, match=r"no run 'q'.*there are: r"):
        check_exists(RunSettings(id="q", root=root))


def test_what_a_kill_kept_from_the_store_is_uploaded_by_the_next_driver(s3, root, monkeypatch, tmp_path):
    with RunDirectory(run_of(root)) as run:
        run.claim()
        with monkeypatch.context() as cut:
            cut.setattr(object_store, "upload_tree", lambda path: None)
            run.stage("one", lambda folder: write_atomic(folder / "a.txt", "A") and {})
    assert not any("one" in key for key in s3.objects(root.rpartition("/")[2]))
    with RunDirectory(run_of(root)):
        pass
    other_machine(monkeypatch, tmp_path)
    with RunDirectory(run_of(root)) as again:
        assert again.done("one") and (again.path / "one/a.txt").is_file()


def test_a_run_that_was_deleted_in_the_store_is_not_brought_back(s3, root):
    with RunDirectory(run_of(root)) as run:
        run.stage("one", lambda folder: {})
    for key in s3.objects(root.rpartition("/")[2]):
        s3.client.delete_object(Bucket=BUCKET, Key=key)
    with RunDirectory(run_of(root)) as again:
        assert not again.resumed and not again.done("one")


def test_parts_of_two_nodes_make_one_directory(s3, root, monkeypatch, tmp_path):
    target = working_path(root) / "r/checkpoint"
    with publish_directory(target, {}) as partial:
        write_atomic(partial / "rank0.pt", b"0" * 10)
        with monkeypatch.context() as node:  # a learner's worker on another node writes its part
            node.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
            there = working_path(root) / "r" / partial.name
            there.mkdir(parents=True)
            (there / "rank1.pt").write_bytes(b"1" * 10)
            move_tree(there, lambda name: name == "rank1.pt")
            assert not any(there.iterdir()), "states of earlier steps would fill the node's disk"
            assert not is_complete(working_path(root) / "r/checkpoint")
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "third"))
    here = working_path(root) / "r/checkpoint"
    assert is_complete(here) and not (here / "rank1.pt").exists()  # weights come when they are loaded
    fetch(here)
    assert {file.name for file in here.iterdir()} == {"rank0.pt", "rank1.pt", "_COMPLETE.json"}
    remove_tree(here)
    assert not s3.objects(f"{root.rpartition('/')[2]}/r/checkpoint")


def test_a_directory_that_was_not_finished_is_not_mixed_with_the_next_attempt(s3, root):
    target = working_path(root) / "r/checkpoint"
    with pytest.raises(KeyError), publish_directory(target, {}) as partial:
        write_atomic(partial / "old.pt", b"old")
        upload_tree(partial)
        raise KeyError
    with publish_directory(target, {}) as partial:
        write_atomic(partial / "new.pt", b"new")
    names = {key.rpartition("/")[2] for key in s3.objects(f"{root.rpartition('/')[2]}/r/checkpoint")}
    assert names == {"new.pt", "_COMPLETE.json"}


def test_small_files_are_taken_anew_and_weights_only_on_request(s3, root, monkeypatch, tmp_path):
    folder = working_path(root) / "r"
    write_json(folder / "state.json", {"a": 1})
    write_atomic(folder / "w.safetensors", b"w" * 5)
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    there = working_path(root) / "r"
    fetch(there, light)
    assert json.loads((there / "state.json").read_text()) == {"a": 1} and not (there / "w.safetensors").exists()
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "here"))
    write_json(folder / "state.json", {"a": 2})
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    fetch(there)
    assert json.loads((there / "state.json").read_text()) == {"a": 2} and (there / "w.safetensors").exists()


def test_a_log_that_is_being_written_is_not_replaced_by_its_own_past(s3, root, monkeypatch, tmp_path):
    log = working_path(root) / "r/events-001.jsonl"
    log.parent.mkdir(parents=True)
    with open(log, "a") as writer:
        print("one", file=writer, flush=True)
        object_store.upload(log)
        print("two", file=writer, flush=True)
        fetch(log.parent)
        print("three", file=writer, flush=True)
    assert log.read_text() == "one\ntwo\nthree\n"
    object_store.upload(log)
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    there = working_path(root) / "r/events-001.jsonl"
    write_atomic(there.with_name("other.json"), "{}")
    there.write_text("one\n")
    fetch(there.parent)
    assert there.read_text() == "one\ntwo\nthree\n"


def test_two_machines_do_not_drive_one_run(s3, root, monkeypatch, tmp_path):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    with RunDirectory(run_of(root)) as run:
        run.claim()
        with monkeypatch.context() as node:
            other_machine(node, tmp_path)
            with pytest.raises(RunDirectoryError, match="is being driven by"):
                RunDirectory(run_of(root))
        run.stage("still", lambda folder: {})
        with pytest.raises(RunDirectoryError, match="driven by process"):  # the same machine: the local lock says so
            RunDirectory(run_of(root))


def test_a_driver_that_was_given_up_can_not_complete_anything(s3, root, monkeypatch, tmp_path):
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 0.5)
    with RunDirectory(run_of(root)) as slow:  # renews every five seconds: too late
        slow.claim()

        def compute(folder: Path) -> dict:
            with monkeypatch.context() as node:
                other_machine(node, tmp_path)
                with RunDirectory(run_of(root)) as successor:
                    successor.stage("one", lambda f: {"by": "successor"})
            return {"by": "slow"}

        with pytest.raises(RunDirectoryError, match="taken over by"):
            slow.stage("one", compute)
    other_machine(monkeypatch, tmp_path)
    with RunDirectory(run_of(root)) as last:
        assert last.manifest("one")["by"] == "successor" and last._lease.fence == 3


@pytest.mark.parametrize("last", ["nobody", "a driver that released it", "a dead driver elsewhere"])
def test_of_drivers_that_start_in_the_same_moment_exactly_one_wins(s3, root, monkeypatch, last):
    path, drivers = working_path(root) / "r", 6
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 0.4)
    if last != "nobody":
        first = lease.Lease(path)
        first._owner = "before/1:1"
        first.acquire()
        first._stop.set()
        if last == "a driver that released it":
            first.release()
    all_have_read, write = threading.Barrier(drivers), lease.write_version

    def write_together(*arguments):
        """Nobody writes before all have read what they base their write on."""
        all_have_read.wait()
        return write(*arguments)

    def drive(number: int) -> lease.Lease | str:
        mine = lease.Lease(path)
        mine._owner = f"machine{number}/1:1"
        try:
            mine.acquire()
        except RunDirectoryError as problem:
            return str(problem)
        return mine

    with monkeypatch.context() as start, ThreadPoolExecutor(drivers) as pool:
        start.setattr(lease, "write_version", write_together)
        ends = list(pool.map(drive, range(drivers)))
    (winner,) = [end for end in ends if isinstance(end, lease.Lease)]
    assert sum(f"is being driven by {winner._owner}" in end for end in ends if isinstance(end, str)) == drivers - 1
    assert winner.fence == (1 if last == "nobody" else 2)
    winner.check()
    winner.release()


def test_a_lease_that_somebody_deleted_is_lost(s3, root, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    held = lease.Lease(working_path(root) / "r")
    held.acquire()
    s3.client.delete_object(Bucket=BUCKET, Key=f"{root.rpartition('/')[2]}/r/{lease.LEASE}")
    held._thread.join()
    with pytest.raises(RunDirectoryError, match="the lease was deleted"):
        held.check()
    held.release()


def test_a_dead_driver_on_this_machine_is_followed_at_once(s3, root, monkeypatch):
    run = RunDirectory(run_of(root))
    run.claim()
    run._lease._stop.set()  # as after kill -9: neither renewed nor released
    lease._held.clear()
    run._lock.close()
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 1e6)
    with RunDirectory(run_of(root)) as again:
        assert again.resumed and again._lease.fence == 2


def test_a_store_that_goes_away_is_waited_for(s3, root, capfd):
    with RunDirectory(run_of(root)) as run:
        s3.stop()
        back = threading.Timer(8.0, s3.start)
        back.start()
        run.stage("one", lambda folder: write_atomic(folder / "a.txt", "A") and {})
        back.join()
        assert "does not answer" in capfd.readouterr().err
    assert f"{root.rpartition('/')[2]}/r/one/_COMPLETE.json" in s3.objects()


def test_a_store_that_stays_away_ends_the_run_with_everything_kept(s3, root, monkeypatch):
    with RunDirectory(run_of(root)) as run:
        run.claim()
        with monkeypatch.context() as gone:
            gone.setenv("GENRM_RL_STORAGE_DEADLINE", "1")
            s3.stop()
            try:
                with pytest.raises(RunDirectoryError, match="goes on from there"):
                    run.stage("one", lambda folder: write_atomic(folder / "a.txt", "A") and {})
            finally:
                s3.start()
    with RunDirectory(run_of(root)) as again:
        again.stage("one", lambda folder: {"again": True})


def test_status_reads_the_store(s3, root, monkeypatch, tmp_path):
    with RunDirectory(run_of(root)) as run:
        run.stage("one", lambda folder: write_atomic(folder / "w.safetensors", b"w") and {})
        other_machine(monkeypatch, tmp_path)
        seen = read_status("r", root)
        assert [stage.name for stage in seen.stages] == ["one"] and seen.driver is not None and seen.result is None
        assert time.time() - seen.last_write < 60
        assert not (seen.path / "one/w.safetensors").exists()
    assert read_status("r", root).driver is None


def test_a_model_is_loaded_from_its_uri(s3, root, monkeypatch, tmp_path, tiny_model):
    shutil.copytree(tiny_model.path, working_path(root) / "model")
    upload_tree(working_path(root) / "model")
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    found = resolve_model(ModelConfig(name=f"{root}/model"))
    assert found.parameters == tiny_model.parameters and (found.path / "model.safetensors").is_file()
    with pytest.raises(ModelError, match="neither"):
        resolve_model(ModelConfig(name=f"{root}/nothing"))


def test_a_model_with_a_cache_in_a_store_is_kept_there_once_and_found_by_every_node(
    s3, root, monkeypatch, tmp_path, tiny_model
):
    local = shutil.copytree(tiny_model.path, tmp_path / "model")
    (local / "model.safetensors").unlink()
    (local / "model.safetensors").symlink_to(tiny_model.path / "model.safetensors")  # as in a hub's snapshot
    config = ModelConfig(name=str(local), cache_dir=f"{root}/models")
    path = resolve_model(config).path
    kept = s3.objects(f"{root.rpartition('/')[2]}/models")
    assert resolve_model(config).path == path and s3.objects(f"{root.rpartition('/')[2]}/models") == kept
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))  # another node's disk, under the same path there
    there = working_path(f"{root}/models") / path.name
    assert load_tokenizer(there).vocab_size == load_tokenizer(local).vocab_size
    assert not (there / "model.safetensors").exists(), "who needs no weights brings none"
    assert inspect_directory(there).parameters == tiny_model.parameters
    (local / "config.json").write_text((local / "config.json").read_text(encoding="utf-8") + " ")
    assert resolve_model(config).path.name != path.name, "another model under the same name"


def test_a_label_is_in_the_store_when_it_is_kept_and_the_links_never_are(s3, root, monkeypatch, tmp_path):
    tasks = [Task.create((Message("user", f"q{n}"),), "yes", "no") for n in range(2)]
    with RunDirectory(run_of(root)) as run:
        run.claim()
        book = Book(run.path / "turn1/desk", tasks, LabellingConfig(), 0)
        links = book.tokens()
        for task in tasks:
            book.say(Label(task.id, "p1", "a"))  # and this machine dies
        book.journal.close()
    other_machine(monkeypatch, tmp_path)
    with RunDirectory(run_of(root)) as run:
        folder = run.path / "turn1/desk"
        assert len(read_desk(folder, tasks, LabellingConfig(), 0).by("p1")) == 2 and not (folder / TOKENS).exists()
        with Book(folder, tasks, LabellingConfig(), 0) as book:
            assert book.tokens()["p1"] != links["p1"]


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what is copied from now on; what was brought counts as settled at once."""
    found, copy = [], object_store._copy
    monkeypatch.setattr(object_store, "_copy", lambda *words: (found.append(words[1]), copy(*words)))
    monkeypatch.setattr(object_store, "SETTLED_SECONDS", -1e9)
    return found


def test_watch_sees_a_run_in_a_store_go_on_and_brings_only_what_is_new(s3, root, monkeypatch, tmp_path, brought):
    run = run_examples.loop(working_path(root) / "r")
    upload_tree(run)
    other_machine(monkeypatch, tmp_path)
    now = [0.0]
    watcher = Watcher("r", root, WatchConfig(), clock=lambda: now[0])
    assert watcher.runs() == ["", "turn1/align", "turn1/bootstrap"]
    assert "step 3 of" in watcher.look("turn1/align").state
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "here"))
    run_examples.add_step(run / "turn1/align", 3, **{"train/kl_reference": 7.0})
    run_examples.alignment(run / "turn2/align")
    upload_tree(run / "turn1/align/steps/00003"), upload_tree(run / "turn2")
    other_machine(monkeypatch, tmp_path)
    now[0] += 60
    brought.clear()
    seen = watcher.look("turn1/align")
    assert "step 4 of" in seen.state and any("far from its start" in alarm for alarm in seen.alarms)
    assert all("/turn1/align/steps/00003/" in path for path in brought) and len(brought) == 2
    watcher.look()
    assert watcher.runs()[-1] == "turn2/align"


def test_a_small_file_that_was_just_written_is_brought_again(s3, root, monkeypatch, tmp_path):
    write_atomic(working_path(root) / "r/state.json", "1")
    other_machine(monkeypatch, tmp_path)
    fetch(working_path(root) / "r")
    s3.client.put_object(Bucket=BUCKET, Key=f"{root.removeprefix(f's3://{BUCKET}/')}/r/state.json", Body=b"2")
    fetch(working_path(root) / "r")
    assert (working_path(root) / "r/state.json").read_text() == "2"
