"""Deliberate faults in exports, pages and archives."""

from .fault import Fault

TEXTS = ("tests/experiments/test_results_text.py",)
ESCAPING = ("tests/experiments/test_escaping.py",)
EXPORTS = ("tests/journal/test_export_limits.py",)
PACKING = ("tests/journal/test_packing.py",)
ARCHIVES = ("tests/experiments/test_archives.py",)

FAULTS = [
    Fault(
        "formula-in-a-table",
        "core/_escaping",
        "marked = start == _TEXT or start in _FORMULA or not",
        "marked = start == _TEXT or not",
        TEXTS,
    ),
    Fault(
        "text-read-back-as-number",
        "core/_escaping",
        "start in _FORMULA or not isinstance(csv_value(text), str)",
        "start in _FORMULA",
        TEXTS,
    ),
    Fault(
        "rounded-number-in-a-table",
        "core/_escaping",
        "return repr(float(value))",
        'return f"{float(value):.6g}"',
        TEXTS,
    ),
    Fault(
        "torn-row-kept",
        "experiments/results",
        'whole = data[: data.rfind(b"\\n") + 1].decode()',
        "whole = data.decode()",
        TEXTS,
    ),
    Fault(
        "terminal-obeys",
        "core/_escaping",
        'return "".join(one if _is_plain(one) else _written_out(one) for one in text)',
        "return text",
        ESCAPING,
    ),
    Fault(
        "markup-of-rich-obeyed",
        "experiments/printing",
        "drawn.add_row(*(Text(visible(cell)) for cell in row))",
        "drawn.add_row(*(visible(cell) for cell in row))",
        ESCAPING,
    ),
    Fault(
        "html-put-in-as-it-is",
        "experiments/pages",
        "autoescape=True",
        "autoescape=False",
        ESCAPING,
    ),
    Fault(
        "mathematics-in-a-label",
        "core/_escaping",
        'shown.replace("$", r"\\$")',
        "shown",
        ESCAPING,
    ),
    Fault(
        "journals-text-unescaped",
        "journal/export",
        'csv_cell(None if value == "" else value)',
        '"" if value is None else value',
        EXPORTS,
    ),
    Fault(
        "forged-sizes-of-a-journal",
        "journal/record",
        "if min(N, A) < 1 or 4 * (6 + N * A + A + 3 * N) > LARGEST_VALUE:",
        "if min(N, A) < 1:",
        EXPORTS,
    ),
    Fault("forged-tables-of-a-journal", "journal/reader", "if made - set(SCHEMA):", "if False:", EXPORTS),
    Fault(
        "hdf5-takes-names-for-paths",
        "journal/export_minari",
        "            _check_name(name, place)",
        "            pass",
        EXPORTS,
    ),
    Fault(
        "empty-array-of-huge-items",
        "core/_packing",
        " or dtype.itemsize > max(len(content), _LARGEST_ABSENT):",
        ":",
        PACKING,
    ),
    Fault("tuples-without-end", "core/_packing", "_DEEPEST = 16", "_DEEPEST = 140", PACKING),
    Fault("lists-that-are-not-there", "core/_packing", "    whole.skip()\n", "", PACKING),
    Fault("bomb-unpacked", "journal/_archives", "if claimed <= max_bytes:", "if claimed >= 0:", ARCHIVES),
    Fault(
        "array-of-a-claimed-shape",
        "journal/_archives",
        "if dtype.itemsize * math.prod(shape) != there or dtype.itemsize > max(there, 1 << 16):",
        "if False:",
        ARCHIVES,
    ),
    Fault(
        "checkpoint-of-other-arrays",
        "journal/checkpoint",
        'if [f"{leaf.dtype} {leaf.shape}" for leaf in leaves] != [_kind(leaf) for leaf in old]:',
        "if False:",
        ("tests/journal/test_files.py",),
    ),
]
