"""One `Table`, five renderers, and tidy rows as CSV. LaTeX, CSV and HTML take several tables for one document.

Each is a pure function of its arguments: the same table gives the same bytes.

Names in a table come from other people's folders and checkpoints, so every renderer treats every string as hostile:
`reports.render.text.visible` disarms what no output can show safely, then each renderer escapes for its own language.
"""

from reports.render.fragment import to_html, to_page
from reports.render.latex import to_latex
from reports.render.markdown import to_markdown
from reports.render.spreadsheet import to_csv, to_tidy_csv
from reports.render.terminal import to_terminal

__all__ = ["to_csv", "to_html", "to_latex", "to_markdown", "to_page", "to_terminal", "to_tidy_csv"]
