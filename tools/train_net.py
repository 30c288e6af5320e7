"""Train or evaluate a RetinaNet from a YAML file, on Detectron2 or, where it is not installed, on
Lightning.

    python tools/train_net.py --config-file configs/digits/retinanet_compact.yaml
    python tools/train_net.py --config-file configs/bccd/retinanet_compact.yaml OUTPUT_DIR out
    SOLVER.MAX_ITER 500 python tools/train_net.py --config-file out/config.yaml --eval-only
    MODEL.WEIGHTS out/model_final.pth

The flags are those of Detectron2's own tool, ``--host`` and ``--overwrite``. A folder that holds a
run is not used again without ``--resume`` or ``--overwrite``.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that start a tool from elsewhere
from command_line import Parser  # first: Ctrl-C is quiet from here on

# isort: split
import argparse


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="YAML file, see configs/"
    )
    parser.add_argument(
        "--host", choices=("auto", "detectron2", "lightning"), default="auto", help="what to run on"
    )
    used = parser.add_mutually_exclusive_group()
    used.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR"
    )
    used.add_argument(
        "--overwrite", action="store_true", help="start again: a run in OUTPUT_DIR is renamed first"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="GPUs of each machine; without a GPU, 1 is the CPU"
    )
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="0 .. num-machines - 1")
    parser.add_argument(
        "--dist-url", default="tcp://127.0.0.1:29517", help="where the processes meet"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of config keys"
    )
    args = parser.parse_args(argv)
    if args.overwrite and args.eval_only:
        parser.error(
            "argument --overwrite: not allowed with --eval-only, which may write into the "
            "folder of any run"
        )
    return args


def main(argv: list[str] | None = None) -> None:
    from retina_plugin.engine.host import Request
    from retina_plugin.engine.launch import launch

    flags = vars(parse(argv))
    config_file, overrides, host = (flags.pop(name) for name in ("config_file", "opts", "host"))
    launch(config_file, overrides, Request(**flags), host=host)


# "__mp_main__" is what a process of a run with several calls this file.
if __name__ in ("__main__", "__mp_main__") and parse().host == "lightning":
    sys.modules["detectron2"] = None  # as if it were not installed: to import it takes seconds

if __name__ == "__main__":
    from retina_plugin.engine.process import run

    run(main)
