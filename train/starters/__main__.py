"""Train the whole family of small models from a folder of faces: one command, any device, any number of processes.

    python -m train.starters --data FACES --minutes 600 --output runs/starters

Prior and style encoder, code diffuser, restorer, inpainter, exemplar, edit and its directions, one after another or,
with `--parallel`, side by side where none needs the other. The minutes are shared out before anything starts; the same
command goes on where it was stopped. Ends with a folder for each model, as `facekit push` takes it.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence

from train.starters.checks import check
from train.starters.family import plan_stages, share_out
from train.starters.launch import run
from train.starters.locks import lock_family
from train.starters.options import read_family, read_options


def main(argv: Sequence[str] | None = None) -> None:
    options = read_options(argv, __doc__ or "")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stages are ended, too
    try:
        from facekit.images.files import why_not_writable  # not before: facekit takes seconds to import

        family = read_family(options)
        if reason := why_not_writable(family.output):
            raise OSError(f"--output {reason}")
        plans = share_out(plan_stages(family, options.only), options.minutes, options.parallel)
        check(family, plans, options.minutes)
        held = lock_family(family, plans)
        # Imported here, so that a missing package shows before the training and not after it.
        from train.starters.results import write_results

        planned = {plan.name: {"minutes": plan.minutes, "needs": plan.needs} for plan in plans}
        (family.output / "plan.json").write_text(json.dumps(planned, indent=1) + "\n")
        failed = run(plans, family, options.parallel, options.num_processes)
        write_results(family, plans)
        os.close(held)
    except (ValueError, OSError) as error:
        sys.exit(f"train.starters: {error}")
    except KeyboardInterrupt:
        print("train.starters: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    if failed:
        sys.exit(f"train.starters: {', '.join(failed)} did not end; the same command goes on")


if __name__ == "__main__":
    main()
