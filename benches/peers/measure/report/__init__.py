"""What came of a run: a table for people, JSON for programs, and pictures for the README."""

from . import document, growth, picture, table, units


__all__ = ["document", "growth", "picture", "table", "units", "write"]


def write(folder, run):
    """All forms of a run, into a folder: the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    forms = {"peers.md": table.markdown(run), "peers.json": document.json_text(run)}
    if bars := picture.bars(run.lines):
        forms["peers.svg"] = bars
    if curves := growth.curves(run.lines):
        forms["growth.svg"] = curves
    for name, text in forms.items():
        (folder / name).write_text(text)
    return [folder / name for name in forms]
