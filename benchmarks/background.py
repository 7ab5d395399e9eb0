"""What waits for a slow logger: memory that a run holds for the background, beside a queue that counts calls alone.

    python benchmarks/background.py            # a table; less than a minute
    python benchmarks/background.py --json     # one JSON object: name, ours, peer, ratio, units, versions

30 drawings are published one after another, each of which holds 64 MiB and takes 0.1 s in the background. Peak
memory is that of the process, less what it had before.

    ours    lwcallbacks' queue, with its bound of 256 MiB
    peer    the same queue without a bound in bytes: 16 calls may wait, as in the release before
"""

import argparse
import contextlib
import json
import sys
import time
from functools import partial

from _common import measure, medians, options, peak_memory_mib, report, versions

VARIANTS = ("ours", "peer")
UNITS = {"peak_memory": "MiB", "publish": "s"}


def run(variant: str, drawings: int) -> dict[str, float]:
    """Publish in this process; return the memory that this took, and how long the publishing thread was there."""
    import numpy as np

    from lwcallbacks.writers import Publisher

    def drawn(held):
        time.sleep(0.1)  # as if a logger waited for its server
        return {"mean": float(held[0])}

    publisher = Publisher(**({} if variant == "ours" else {"max_bytes": 2**62}))
    size = 64 * 2**20
    before, start = peak_memory_mib(), time.perf_counter()
    for step in range(drawings):
        held = np.ones(size, np.uint8)  # ones are written, and so take memory; zeros need not
        publisher.publish(partial(drawn, held), step, size=held.nbytes)
        del held
    published = time.perf_counter() - start
    publisher.close()
    return {"peak_memory": peak_memory_mib() - before, "publish": published}


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--drawings", type=int, default=30)
    args = parser.parse_args()
    if args.quick:
        args.repeats = 1
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.drawings)
        print(json.dumps(measured))
        return
    runs = measure(__file__, VARIANTS, args.repeats, "--drawings", str(args.drawings))
    result = {variant: medians(runs[variant]) for variant in VARIANTS}
    ratio = {quantity: round(result["ours"][quantity] / result["peer"][quantity], 3) for quantity in UNITS}
    about = {"repeats": args.repeats, "drawings": args.drawings, "versions": versions()}
    report({"name": "background", **result, "ratio": ratio, "units": UNITS, **about}, args.json)


if __name__ == "__main__":
    main()
