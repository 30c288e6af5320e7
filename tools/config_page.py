"""Write docs/config.md, the table of all keys, from retina_plugin/config/keys.py.

python tools/config_page.py
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that start a tool from elsewhere
from command_line import Parser  # first: Ctrl-C is quiet from here on

# isort: split
from collections.abc import Mapping
from pathlib import Path

from retina_plugin.config import DETECTRON2_KEYS, NODE, PLUGIN_KEYS, Key
from retina_plugin.config.files import write_atomically
from retina_plugin.engine.process import run

PAGE = Path(__file__).resolve().parents[1] / "docs/config.md"

HEAD = """# Config keys

<!-- Written by tools/config_page.py from retina_plugin/config/keys.py; change the text there. -->

A config is a YAML file of keys in groups. `_BASE_` names a file that it starts from, relative to
its own folder; what follows on the command line goes before both:

```bash
python tools/train_net.py --config-file configs/digits/retinanet_compact.yaml \\
    SOLVER.MAX_ITER 500 OUTPUT_DIR out
```

Lists and pairs are quoted there, and one entry keeps its comma: `DATASETS.TEST
"('my/val.json@my/images',)"`. A key that does not exist is an error that names the nearest one.
YAML is read as plain data: tags such as `!!python`, a key given twice, infinite numbers and NaN are
refused, with the file and the line.

The defaults below are Detectron2's. `configs/Base-RetinaNet.yaml` sets those of the RetinaNet
paper, and every config here starts from it.
"""


def table(keys: Mapping[str, Key]) -> str:
    """Format a Markdown table of keys with their defaults and meanings."""
    rows = [
        f"| `{key}` | `{default!r}` | {meaning} |" for key, (default, meaning, _) in keys.items()
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def page() -> str:
    """Return the text of the page."""
    return f"""{HEAD}
## Keys of this project

Under `{NODE}`; everything else is Detectron2's.

{table(PLUGIN_KEYS)}
## Keys of Detectron2

Names, meanings and defaults are Detectron2's, and these are the ones that work on either host. On
Detectron2 its other keys are read too; on Lightning another key is an error, not silence.

{table(DETECTRON2_KEYS)}"""


def main(argv: list[str] | None = None) -> None:
    Parser(__doc__).parse_args(argv)
    write_atomically(str(PAGE), page())
    print(f"written: {PAGE}")


if __name__ == "__main__":
    run(main)
