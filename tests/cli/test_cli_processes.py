"""One command in several processes: the same pictures and records to the last bit, one voice, one end for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import mezzotint as mz
from crew import crew, environment, free_port, loopback
from mezzotint.cli import main
from mezzotint.cli.drawing import draw, rows_of
from mezzotint.cli.launch import LAUNCHER, Forwarding
from mezzotint.core import ranks
from mezzotint.denoiser import Mixture
from mezzotint.processes import EDM

FEW = ["--steps", "2", "--threads", "1"]


def call(folder: str, *words: str) -> None:
    """The command in one of several processes, with what it says in files and its exit code as a word."""
    rank = os.environ["RANK"]
    with open(f"{folder}/out.{rank}", "w") as out, open(f"{folder}/err.{rank}", "w") as err:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(words))
    raise SystemExit(code)


def both(folder: Path, *words: object) -> list[Any]:
    """Run a command in two processes: (exit code, standard output, standard error) of each."""
    folder.mkdir(exist_ok=True)
    codes = crew(2, call, str(folder), *map(str, words))
    said = [[(folder / f"{kind}.{rank}").read_text() for kind in ("out", "err")] for rank in (0, 1)]
    return [(code, *texts) for code, texts in zip(codes, said, strict=True)]


def pictures(path: Path) -> Any:
    with np.load(path) as arrays:
        return arrays["images"], arrays["labels"], arrays["seeds"]


def exact(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Keep pictures as they are drawn: bytes would hide the last bits."""
    import mezzotint.cli.drawing as drawing

    kept, before = [], drawing.draw

    def draw(*words: Any) -> Any:
        kept.append(before(*words))
        return kept[-1]

    monkeypatch.setattr(drawing, "draw", draw)
    return kept


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="plain", marks=pytest.mark.long),
        pytest.param(["--guidance", "2"], id="guided"),
        pytest.param(["--sampler", "ddpm"], id="ddpm", marks=pytest.mark.long),
    ],
)
def test_a_picture_does_not_feel_its_neighbours(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """All at once, in batches of any size, and a few of them alone: the same float32 numbers."""
    kept = exact(monkeypatch)
    ways = [["--seeds", "0-29"], ["--seeds", "0-29", "--batch", "7"], ["--seeds", "0-29", "--batch", "100"]]
    ways += [["--seeds", "17"], ["--seeds", "3-29"]]
    for number, way in enumerate(ways):
        words = ["sample", digits, "--label", "3,5", *FEW, *more, *way, "--npz", tmp_path / f"{number}.npz", "--json"]
        assert main([str(word) for word in words]) == 0
    whole, small, large, one, rest = kept
    assert torch.equal(whole, small) and torch.equal(whole, large)
    assert torch.equal(whole[34:36], one) and torch.equal(whole[6:], rest)


@pytest.mark.long
def test_without_pieces_it_would(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would hold for any reason: a piece of another size rounds otherwise."""
    kept = exact(monkeypatch)
    for rows in (64, 1):
        words = ["sample", digits, "--seeds", "0-7", *FEW, "--rows", rows, "--npz", tmp_path / f"{rows}.npz", "--json"]
        assert main([str(word) for word in words]) == 0
    assert not torch.equal(*kept)
    torch.testing.assert_close(*kept, rtol=0, atol=1e-4)


def test_pieces_are_a_power_of_two_by_size() -> None:
    sizes = {(1, 8, 8): 64, (1, 28, 28): 16, (3, 32, 32): 8, (3, 256, 256): 8, (2,): 64}
    for shape, rows in sizes.items():
        means = torch.zeros(1, *shape).tolist()
        found = Mixture(EDM(), means, [torch.eye(2).tolist()]) if shape == (2,) else _shaped(shape)
        assert rows_of(found) == rows


def _shaped(shape: tuple[int, ...]) -> Any:
    from mezzotint.denoiser import Preconditioned
    from mezzotint.networks import UNet

    return Preconditioned(UNet(shape, width=4), EDM())


def test_two_processes_draw_the_pictures_of_one(digits: Path, tmp_path: Path) -> None:
    """150 pictures are two pieces and a rest, so the second process draws one of three."""
    ask = ["sample", digits, "--seeds", "0-14", *FEW, "--json", "--npz"]
    assert main([str(word) for word in [*ask, tmp_path / "one.npz", "--out", tmp_path / "one.png"]]) == 0
    first, second = both(tmp_path / "two", *ask, tmp_path / "two.npz", "--out", tmp_path / "two.png", "--batch", "64")
    assert (first[0], second[0]) == (0, 0), (first, second)
    ours, theirs = pictures(tmp_path / "two.npz"), pictures(tmp_path / "one.npz")
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)) and len(ours[0]) == 150
    assert json.loads(first[1])["count"] == 150 and "150 / 150 pictures" in first[2]
    assert second[1:] == ("", "")


DEALT = {
    (100, 8, 256): [[56], [48]],  # 13 pieces, of which the last is filled up: seven and six
    (100, 8, 16): [[16, 16, 16, 8], [16, 16, 16]],
    (9, 8, 256): [[8], [8]],
    (8, 8, 256): [[8], []],  # one piece is one process's
}


def deal(folder: str) -> None:
    """Draw exact numbers, and write down how many in which turn."""
    ranks.join()
    found = []
    for pictures, rows, batch in DEALT:
        turns: list[int] = []

        def pipeline(cond: Any, rng: mz.Rng, turns: list[int] = turns) -> torch.Tensor:
            turns.append(len(rng))
            return rng.normal("x", (2,))

        x = draw(pipeline, mz.NONE, mz.Rng(range(pictures)), batch, lambda done, total: None, rows)
        assert x is None if ranks.rank() else torch.equal(x, mz.Rng(range(pictures)).normal("x", (2,)))
        found.append(turns)
    Path(folder, f"turns.{ranks.rank()}").write_text(json.dumps(found))


def test_every_process_draws_where_there_are_pieces_enough(tmp_path: Path) -> None:
    assert crew(2, deal, str(tmp_path)) == [0, 0]
    turns = [json.loads((tmp_path / f"turns.{rank}").read_text()) for rank in (0, 1)]
    assert [list(pair) for pair in zip(*turns, strict=True)] == list(DEALT.values())


def test_two_processes_write_the_record_of_one(digits: Path, tmp_path: Path) -> None:
    """100 pictures are a piece each, so what the second process draws counts."""
    ask = ["evaluate", digits, "--count", "100", *FEW, "--json", "--out"]
    assert main([str(word) for word in [*ask, tmp_path / "one.json"]]) == 0
    first, second = both(tmp_path / "two", *ask, tmp_path / "two.json", "--batch", "32")
    assert (first[0], second[0]) == (0, 0) and second[1:] == ("", ""), (first, second)
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("two", "one"))
    assert ours.pop("seconds") > 0 and theirs.pop("seconds") > 0
    assert ours == theirs and ours["measures"]["frechet_pixels"]["value"] > 0
    assert ours["evaluations_per_sample"] == 3  # two steps of Heun, the last without its second half


def test_what_all_refuse_is_said_once(digits: Path, tmp_path: Path) -> None:
    said = both(tmp_path / "two", "sample", digits, "--label", "17", "--out", tmp_path / "x.png")
    assert [code for code, _, _ in said] == [2, 2]
    lines = "".join(err for _, _, err in said).strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("mezzotint: label 17 is out of range")
    assert not any(out for _, out, _ in said)


def test_what_one_refuses_ends_the_other(digits: Path, tmp_path: Path) -> None:
    """A folder that is not empty is seen by the first alone; the second waits for it, and learns that it has left."""
    said = both(tmp_path / "two", "train", "digits", "--out", digits, "--json")
    assert [code for code, _, _ in said] == [2, 2]
    (line,) = "".join(err for _, _, err in said).strip().splitlines()
    assert "not empty" in json.loads(line)["error"]


def test_processes_have_to_be_some(command: Any) -> None:
    assert "at least 1" in command("sample", "runs/none", "--processes", 0).sentence
    assert "at least 1" in command("train", "digits", "--processes", 0).sentence


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """A test that fails leaves no training behind that would slow down all that follow."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
            process.communicate()


def shell(words: list[object], **more: str) -> subprocess.Popen[str]:
    told = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | more
    pipe = subprocess.PIPE
    STARTED.append(subprocess.Popen(list(map(str, words)), env=told, text=True, stdout=pipe, stderr=pipe))
    return STARTED[-1]


def launched(*words: object) -> subprocess.Popen[str]:
    return shell([sys.executable, "-m", "mezzotint", *words])


def training(folder: Path, *more: object) -> list[object]:
    few = ["training.batch=32", "training.sampler.steps=2", "training.save=64", "training.log=32"]
    return ["train", "digits", "--out", folder, "--width", 8, "--images", "10M", *more, "--set", *few]


def until(what: Any, process: subprocess.Popen[str], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.2)


def begun(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("0*"))


def members(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The ranks, in order."""
    found = [child for child in psutil.Process(process.pid).children() if "RANK" in child.environ()]
    return sorted(found, key=lambda child: int(child.environ()["RANK"]))


def test_a_signal_reaches_each_process_once_and_those_that_start_later() -> None:
    forwarding, told = Forwarding(), os.environ | {"RANK": "0", LAUNCHER: "1"}
    script = "trap 'echo heard' USR1; echo ready; while :; do sleep 0.05; done"

    def start(**more: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(["sh", "-c", script], env=told | more, text=True, stdout=subprocess.PIPE)
        assert made.stdout is not None and made.stdout.readline() == "ready\n"
        return made

    first, stranger = start(), subprocess.Popen(["sleep", "60"])  # not a process that shares the work
    forwarding.deliver()
    forwarding.hear(signal.SIGUSR1, None)
    forwarding.deliver()
    second = start(RANK="1")
    for _ in range(3):
        forwarding.deliver()
    for made in (first, second):
        assert made.stdout is not None and made.stdout.readline() == "heard\n"
    time.sleep(0.2)
    forwarding.hear(signal.SIGTERM, None)
    forwarding.deliver()
    assert [made.communicate(timeout=10) for made in (first, second)] == [("", None)] * 2
    assert [made.returncode for made in (first, second)] == [-signal.SIGTERM] * 2
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize(
    ("came", "codes", "code"),
    [
        ([(15, 0.0)], [-15, -15], 75),  # before they could hear
        ([(15, 0.0), (15, 0.4)], [-15, -15], 75),  # a scheduler and its launcher, or a terminal: the same request
        ([(2, 0.0)], [130, -15], 75),
        ([(2, 0.0)], [-15, -15], 75),  # SIGINT travels as SIGTERM
        ([(10, 0.0)], [-10, 3], 75),  # the second lost the first
        ([(10, 0.0)], [75, -10], 75),
        ([(15, 0.0), (15, 1.5)], [-15, -15], 143),
        ([(10, 0.0), (2, 1.5)], [-2, -2], 130),
        ([(10, 0.0)], [75, 75], None),  # they have said it themselves
        ([(15, 0.0)], [-9, -15], None),  # and nobody asked for that
        ([(10, 0.0)], [1, -10], None),
        ([(10, 0.0)], [-15, -15], None),
        ([], [-15, 3], None),
    ],
)
def test_what_ends_of_a_signal_that_was_asked_for_has_stopped(came: Any, codes: Any, code: int | None) -> None:
    assert Forwarding(came).code(codes) == code


@pytest.mark.parametrize(
    ("rank", "more"),
    [
        pytest.param(1, [], id="1"),
        pytest.param(0, [], id="0", marks=pytest.mark.long),
        pytest.param(1, ["--shard"], id="1-pieces", marks=pytest.mark.long),
        pytest.param(0, ["--shard"], id="0-pieces", marks=pytest.mark.long),
    ],
)
def test_a_dead_process_ends_the_others(tmp_path: Path, rank: int, more: list[str]) -> None:
    run = launched(*training(tmp_path / "run", "--processes", 2, *more))
    until(lambda: begun(tmp_path / "run"), run)
    ranks, start = members(run), time.monotonic()
    assert len(ranks) == 2
    ranks[rank].kill()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 3 and time.monotonic() - start < 30
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"mezzotint: process {rank} of 2 was ended by SIGKILL, so the others were ended too")
    assert "Traceback" not in err and err.count("mezzotint: ") == 1
    assert not any(psutil.pid_exists(member.pid) for member in ranks)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("way", ["torchrun", "srun"])
def test_a_dead_process_ends_the_others_of_another_launcher(tmp_path: Path, way: str, rank: int) -> None:
    """Nobody of ours watches over them: the other notices by itself, within seconds, and says so."""
    ours = [sys.executable, "-m", "mezzotint", *training(tmp_path / "run")]
    if way == "torchrun":
        run = shell([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, *ours[1:]])
        until(lambda: begun(tmp_path / "run"), run)
        dead, other = members(run)[rank], members(run)[1 - rank]
    else:
        port = free_port()
        both = [shell(ours, **environment(number, 2, port)) for number in (0, 1)]
        run = both[1 - rank]
        until(lambda: begun(tmp_path / "run"), run)
        dead, other = psutil.Process(both[rank].pid), psutil.Process(run.pid)
    start = time.monotonic()
    dead.kill()
    _, err = run.communicate(timeout=60)
    assert time.monotonic() - start < 30 and not psutil.pid_exists(other.pid), err
    said = err.count("mezzotint: another of the 2 processes was lost, so this one ends too")
    if way == "torchrun":  # its SIGTERM may be faster than the sentence; it names the one that was lost in any case
        assert run.returncode == 1 and said <= 1 and f"Signal 9 (SIGKILL) received by PID {dead.pid}" in err
    else:
        assert run.returncode == 3 and said == 1 and "Traceback" not in err


@pytest.mark.long
def test_a_dead_launcher_leaves_nobody_behind(tmp_path: Path) -> None:
    run = launched(*training(tmp_path / "run", "--processes", 2))
    until(lambda: begun(tmp_path / "run"), run)
    ranks = members(run)
    run.kill()
    _, alive = psutil.wait_procs(ranks, timeout=30)
    assert not alive and len(ranks) == 2
    run.communicate()


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return out, err


SHORT = ["--width", 8, "--images", 128, "--json", "--set", "training.batch=32", "training.sampler.steps=2"]


def losses(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.long
@pytest.mark.parametrize("way", ["--processes", "torchrun", "accelerate", "srun", "--shard"])
def test_every_way_of_starting_is_the_same_run(tmp_path: Path, way: str) -> None:
    """Train, sample and judge in two processes, however they were started."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(list(map(str, ["train", "digits", "--out", one, *SHORT]))) == 0

    def start(*words: object) -> list[tuple[str, str]]:
        ours: list[object] = ["-m", "mezzotint", *words]
        if way in ("--processes", "--shard"):
            return [finished(launched(*words, "--processes", 2))]
        if way == "torchrun":
            first = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
            return [finished(shell([*first, *ours]))]
        if way == "accelerate":
            first = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", 2]
            more = ["--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads", 1]
            more[-2] = "--num_cpu_threads_per_process"
            return [finished(shell([*first, *more, *ours], GLOO_SOCKET_IFNAME=loopback()))]
        port = free_port()
        both = [shell([sys.executable, *ours], **environment(rank, 2, port)) for rank in (0, 1)]
        return [finished(process) for process in both]

    said = start("train", "digits", "--out", two, *(["--shard"] if way == "--shard" else []), *SHORT)
    assert json.loads("".join(out for out, _ in said))["images"] == 128
    assert losses(two) == pytest.approx(losses(one), abs=1e-4) and len(losses(one)) == 4
    ask = ["sample", one, "--seeds", "0-14", *FEW, "--json", "--npz"]
    main(list(map(str, [*ask, tmp_path / "one.npz"])))
    start(*ask, tmp_path / "two.npz")
    drawn = [pictures(tmp_path / f"{name}.npz") for name in ("one", "two")]
    assert all(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))
    judged = start("evaluate", one, "--count", 40, *FEW, "--json")
    assert json.loads("".join(out for out, _ in judged))["counts"]["samples"] == 40


@pytest.mark.cuda
@pytest.mark.long
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices: NCCL gives each process its own")
@pytest.mark.parametrize("more", [[], ["--shard"]], ids=["copies", "pieces"])
def test_two_gpus_train_and_draw(tmp_path: Path, more: list[str]) -> None:
    """NCCL: the losses of one GPU, to what TF32 and the order of sums leave of them."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, words in ((one, []), (two, ["--processes", 2, *more])):
        finished(shell([sys.executable, "-m", "mezzotint", "train", "digits", "--out", folder, *words, *SHORT],
                       ACCELERATE_USE_CPU="false"))  # fmt: skip
    assert losses(two) == pytest.approx(losses(one), rel=1e-2)
    words = ["sample", two, "--seeds", "0-14", *FEW, "--processes", 2, "--npz", tmp_path / "two.npz", "--json"]
    finished(shell([sys.executable, "-m", "mezzotint", *words], ACCELERATE_USE_CPU="false"))
    assert len(pictures(tmp_path / "two.npz")[0]) == 150


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines with fewer GPUs than processes")
@pytest.mark.parametrize("more", [[], ["--shard"]], ids=["copies", "pieces"])
def test_a_signal_to_the_launcher_stops_all_and_the_run_goes_on(tmp_path: Path, more: list[str]) -> None:
    """All save at one step and end with 75, which is said once; one process alone goes on from there."""
    run = launched(*training(tmp_path / "run", "--processes", 2, *more))
    until(lambda: begun(tmp_path / "run"), run)
    ranks = members(run)
    run.send_signal(signal.SIGUSR1)
    _, err = run.communicate(timeout=200)
    assert run.returncode == 75 and err.count("stopped by SIGUSR1, saved at") == 1, err
    assert not any(psutil.pid_exists(member.pid) for member in ranks)
    saved = int(err.split("saved at ")[1].split()[0])
    assert (tmp_path / "run" / "checkpoints" / f"{saved:010d}").is_dir()
    assert main(["train", str(tmp_path / "run"), "--resume", "--images", str(saved + 32), "--json"]) == 0


def listens(process: subprocess.Popen[str]) -> bool:
    """Whether a process has a handler for SIGUSR1."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc to see who listens")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("when", ["before they are", "when they are"])
def test_a_signal_to_the_launcher_before_they_train(tmp_path: Path, when: str, number: signal.Signals) -> None:
    """Nothing has been trained, so all there is to do is to start again: 75, and nobody is left."""
    run = launched(*training(tmp_path / "run", "--processes", 2))
    until(lambda: listens(run) if when == "before they are" else len(members(run)) == 2, run)
    assert when == "when they are" or not members(run)
    time.sleep(0 if when == "before they are" else 1)
    ranks = members(run)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 75 and "Traceback (most recent call last)" not in err, err
    assert err.count("stopped by SIG") == 1 and "was ended by" not in err
    assert not any(psutil.pid_exists(member.pid) for member in ranks) and not begun(tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_training_in_its_longest_step(
    tmp_path: Path, number: signal.Signals, count: int
) -> None:
    """The pictures after the first step take many minutes: the first signal waits for them, a further one does not.

    Where a machine is busy a signal is heard late, and one that comes within a second of that is the same request.
    """
    words = training(tmp_path / "run", *(["--processes", count] if count > 1 else []))
    run = launched(*words, "training.picture=32", "training.sampler.steps=50000")
    until(lambda: (tmp_path / "run" / "metrics.jsonl").is_file(), run)
    ranks = members(run)
    run.send_signal(number)
    time.sleep(3)
    assert run.poll() is None and len(ranks) == (count if count > 1 else 0)
    for _ in range(5):
        run.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            run.wait(6)
            break
    _, err = run.communicate(timeout=1)
    assert not any(psutil.pid_exists(member.pid) for member in ranks)
    if count == 1:
        assert run.returncode == -number
    else:
        assert run.returncode == 128 + number and f"mezzotint: ended at once by {number.name}" in err, err
    assert not begun(tmp_path / "run")
