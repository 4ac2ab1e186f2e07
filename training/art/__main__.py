"""Fetch and render the drawings that the models learn from: `python -m training.art`.

Everything is kept under `.runs/art` and made once; a run that was interrupted goes on where it stopped. `--sheets`
also lays every thing of each design out in one picture, to look at.
"""

from __future__ import annotations

import argparse
import sys

from training.art.designs import designs
from training.art.fetch import ArtError
from training.art.lettering import make_lettering
from training.art.sheet import contact_sheet
from training.art.shelf import FOLDER, Shelf, render_design


def main() -> None:
    """Fetch, render, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=list(designs()), default=list(designs()), help="these designs only"
    )
    parser.add_argument("--no-lettering", action="store_true", help="leave the fonts and their words out")
    parser.add_argument("--sheets", action="store_true", help="write contact sheets beside the drawings")
    given = parser.parse_args()
    try:
        for name in given.only:
            design = designs()[name]
            count = render_design(design)
            print(f"{name}: {count} drawings, {design.licence}, to {design.use}")
            if given.sheets:
                contact_sheet(Shelf([name])).save(FOLDER / f"{name}.png")
        if not given.no_lettering:
            print(f"words: {make_lettering()} pictures of words")
    except ArtError as error:
        sys.exit(f"training.art: {error}")


if __name__ == "__main__":
    main()
