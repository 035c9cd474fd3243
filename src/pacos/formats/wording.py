"""Words for messages about files: text from a file made safe to print, and sizes."""

from __future__ import annotations

SHOWN_CHARACTERS = 200


def shown(text: object, limit: int = SHOWN_CHARACTERS) -> str:
    """The text on one line, with everything that a terminal would act on escaped, cut to `limit` characters.

    Escaped are control and format characters (bidirectional overrides too), and bytes that were no UTF-8.
    """
    try:
        raw = str(text)
    except RecursionError:
        raw = f"a deeply nested {type(text).__name__}"
    cut = raw[:limit]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return f"{cut}… ({len(raw)} characters)" if len(raw) > limit else cut


def sized(nbytes: int) -> str:
    """The number of bytes, with a rounded form in binary units beside it when it is large."""
    value, unit = float(nbytes), ""
    for following in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if value < 1024:
            break
        value, unit = value / 1024, following
    return f"{nbytes} bytes ({value:.1f} {unit})" if unit in ("MiB", "GiB", "TiB", "PiB", "EiB") else f"{nbytes} bytes"
