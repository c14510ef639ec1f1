"""Put scenes to the test: how right their readers are, and what they cost.

Run it from the root of the repository; it takes some minutes on one core:

    python tools/scenes.py --readers
    python tools/scenes.py --readers --count 200 --kinds clean both     # less, or only some of it

Figures lie in results/scenes, one file a part: readers.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core.text import spoken  # noqa: E402
from mezzotint.data.scenes import Scenes  # noqa: E402
from mezzotint.data.scenes.captions import claims  # noqa: E402
from mezzotint.data.scenes.following import held, total  # noqa: E402
from mezzotint.data.scenes.reader import Reader  # noqa: E402
from mezzotint.data.scenes.scoring import ATTRIBUTES, scored  # noqa: E402
from mezzotint.data.scenes.segment import blurred  # noqa: E402

KINDS = {
    "clean": (0.0, 0.0, False),
    "blurred": (1.0, 0.0, False),
    "noisy": (0.0, 0.1, False),
    "both": (1.0, 0.1, False),
    "saved": (1.0, 0.1, True),
}
"""Pixels of the blur, and standard deviation of the noise that is added after it, on pictures in [-1, 1]; whether they
are then clamped and rounded to bytes, as pictures are that were saved."""
SEED = 31
"""Of the scenes: none that the readers were made or tested on."""


def corrupted(x: torch.Tensor, blur: float, noise: float, saved: bool = False, seed: int = 0) -> torch.Tensor:
    """Pictures, blurred and then noisy."""
    soft = torch.from_numpy(blurred(x.double().numpy(), blur, True).copy())
    draws = np.random.Generator(np.random.PCG64(seed)).standard_normal(soft.shape)
    bad = soft + noise * torch.from_numpy(draws)
    return ((bad.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1 if saved else bad


def readers(given: argparse.Namespace) -> dict[str, Any]:
    """How right the readers are, on pictures held out that are clean, blurred, noisy, or both."""
    size = given.size[0] if len(given.size) == 1 else tuple(given.size)
    data = Scenes(split="held_out", size=size, seed=SEED, tells=("caption", "layout"))
    reader, made = Reader(), {}
    for kind in given.kinds:
        score, own, other, spent = None, [], [], 0.0
        for first in range(0, given.count, 50):
            rows = np.arange(first, min(first + 50, given.count))
            x, told = data.items(rows)
            plan, layout, captions = data.plan(rows), told["layout"].numpy(), spoken(told["caption"])
            bad = corrupted(x, *KINDS[kind], seed=first)
            start = time.process_time()
            readings = reader.read(bad)
            spent += time.process_time() - start
            for row, reading in enumerate(readings):
                found = scored(reading, plan, row, layout[row])
                score = found if score is None else score + found
                own.append(held(reading, claims(captions[row])))
                other.append(held(reading, claims(captions[(row + 1) % len(captions)])))
                if given.wrong and (found.asked != found.right).any():
                    names = [name for name, a, b in zip(ATTRIBUTES, found.asked, found.right, strict=True) if a != b]
                    print(f"  {first + row}: {', '.join(names)}; {[(s.form, s.explained) for s in reading.objects]}")
        assert score is not None
        ceiling, chance = total(own), total(other)
        made[kind] = {
            "pictures": given.count,
            "attributes": {
                name: {"asked": int(a), "right": int(b), "abstained": int(c)}
                for name, a, b, c in zip(ATTRIBUTES, score.asked, score.right, score.abstained, strict=True)
            },
            "right": round(score.share(), 5),
            "right_of_answered": round(score.share(answered=True), 5),
            "overlap": round(score.overlap, 5),
            "following": {
                "own": round(ceiling.share, 5),
                "own_whole": round(ceiling.whole / ceiling.captions, 5),
                "other": round(chance.share, 5),
                "other_whole": round(chance.whole / chance.captions, 5),
            },
            "milliseconds": round(1000 * spent / given.count, 1),
        }
        tell(kind, made[kind])
    return {"size": given.size, "seed": SEED, "kinds": made}


def tell(kind: str, found: dict[str, Any]) -> None:
    """A part of the figures, in lines."""
    follow = found["following"]
    print(
        f"{kind}: {100 * found['right']:.2f} % of the attributes right, {100 * found['right_of_answered']:.2f} % of "
        f"those answered; mean IoU {found['overlap']:.4f}; {found['milliseconds']} ms a picture; "
        f"own caption followed to {100 * follow['own']:.1f} % ({100 * follow['own_whole']:.1f} % whole), another to "
        f"{100 * follow['other']:.1f} % ({100 * follow['other_whole']:.1f} % whole)"
    )
    for name, one in found["attributes"].items():
        asked, right, abstained = one["asked"], one["right"], one["abstained"]
        print(f"    {name:9s} {right}/{asked} right ({100 * right / asked:.2f} %), {abstained} abstained")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", action="store_true", help="how right the readers are")
    parser.add_argument("--count", type=int, default=2000, help="pictures of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--size", type=int, nargs="+", default=[32], help="pixels of a side, or height and width")
    parser.add_argument("--wrong", action="store_true", help="say which pictures were read wrong")
    parser.add_argument("--into", type=Path, default=ROOT / "results" / "scenes", help="where the figures go")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.readers:
        found = readers(given)
        given.into.mkdir(parents=True, exist_ok=True)
        (given.into / "readers.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
