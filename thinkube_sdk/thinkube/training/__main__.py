"""`python -m thinkube.training recipe.yaml`: the one entry of fine-tuning, on a laptop and in a pod."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from thinkube.model.errors import ThinkubeError
from thinkube.model.recipe import read
from thinkube.training.stopped import Stopped

STOPPED = 3


def main() -> int:
    """0: a model was made. 1: it could not be. 2: the call is wrong. 3: stopped on demand, to be resumed."""
    parser = argparse.ArgumentParser(prog="python -m thinkube.training", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a YAML file")
    parser.add_argument(
        "--work", type=Path, help="where checkpoints and the model go; by default beside the recipe"
    )
    parser.add_argument("--name", help="the job's name")
    parser.add_argument(
        "--stage",
        choices=["prepare", "train", "evaluate", "register"],
        help="do this part alone; those before it were done with the same --work",
    )
    asked = parser.parse_args()
    # Before torch is loaded. Threads that wait should sleep: spinning starves whoever shares the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    try:
        recipe = read(asked.recipe)
        if recipe.gpus == 0:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from thinkube.training.run import run

        work = asked.work or asked.recipe.with_suffix(".run")
        result = run(recipe, work.absolute(), asked.name, asked.stage)
    except ThinkubeError as error:
        print(f"Error: {error.cause}\nFix:   {error.fix}", file=sys.stderr)
        return 1
    except Stopped:
        return STOPPED
    if result is not None:
        print(json.dumps(asdict(result), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
