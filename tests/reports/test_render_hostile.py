"""Names come from other people's files. Whatever they hold, no renderer may let them act or break the layout."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.render import to_csv, to_html, to_latex, to_markdown, to_terminal
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible

NAMES = [
    r"\input{/etc/passwd}",
    r"\write18{id} \def\x{} $x$ #1 % & ~ ^ _ {",
    r"\\[2cm] [x] * }",
    "a|b||c\\|d\\",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</table><h1>",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b1m",
    "abc\u202edef\u2066\u200f",
    "\ufeff\u200b\xad\U000e0041",
    "\ud800 alone",
    "\x00nul",
    "=1+1",
    "-2+3",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "\t=1",
    " =1",
    "＝1",
    "a\nb\r\nc\x0bd\u2028e",
    "[red]rich[/red] :smile:",
    "*a* _b_ `c` **d** ~~e~~ # f",
    "[link](javascript:alert(1)) ![i](x) http://x.y",
    "&amp; &#124; &lt;",
    "--- ,, '' `` !` ?` << >> \"",
    "中文 é ñ 🙂 e\u0301 ÿÐß ×÷",
    "1. one",
    "- two",
    "",
    " ",
]
hostile = st.one_of(
    st.sampled_from(NAMES),
    st.text(max_size=12),
    st.text(alphabet="\\{}[]|&%$#_~^<>*`'\"=+-@ \n\x1b\u202e:/!", max_size=12),
)


def table_of(name: str) -> Table:
    """The same shape for every name, and the name in every place that takes words."""
    columns = (Column("k" + name, name, name, name), Column("b", "B", name, better="lower"), Column("c", "C"))
    values = (Value(38.7, 0.2, bold=True, mark=name, href=name, hint=name), Value(text=name or "-"), Value(1.0))
    return Table(
        "t" + name, "T " + name, columns, (Row(name, values, section="S" + name), Row("x", values, muted=True)), (name,)
    )


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.heads: list[str] = []
        self.titles: list[str | None] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":  # a link is left out where the address is not a safe one
            self.tags.append((tag, tuple(name for name, _ in attrs if name != "title")))
        self.titles += [value for name, value in attrs if name == "title"]
        if tag == "th":
            self.heads.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag != "a":
            self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        if self.heads:
            self.heads[-1] += data


def every_name(check):  # type: ignore[no-untyped-def]
    """Hypothesis over hostile names, and each explicit one for certain."""
    check = given(name=hostile)(check)
    for name in NAMES:
        check = example(name=name)(check)
    return settings(max_examples=60, deadline=None)(check)


@every_name
def test_html_gives_the_name_back_as_text_and_nothing_else(name: str) -> None:
    parsed, plain = Parsed(to_html(table_of(name))), Parsed(to_html(table_of(name and "plain")))
    if name:
        assert [tag for tag in parsed.tags if tag[0] != "sup"] == [tag for tag in plain.tags if tag[0] != "sup"]
        assert parsed.titles == [visible(name)] * 2
    rows = [head for head in parsed.heads if head.strip() or not name.strip()]
    assert any(head.startswith(visible(name)) for head in rows)
    assert not re.search(r"href=\"\s*(javascript|http|//)", to_html(table_of(name)), re.IGNORECASE)
    to_html(table_of(name)).encode()  # no lone surrogate is left


@every_name
def test_markdown_keeps_its_cells_and_reads_back_as_the_name(name: str) -> None:
    out = to_markdown(table_of(name))
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {5}
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(out)
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == len(lines) - 1
    assert {kind for kind in kinds if kind.endswith("_open")} <= {
        f"{kind}_open"
        for kind in ("paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item")
    }
    inline = [token for token in tokens if token.type == "inline"]
    used = {child.type for token in inline for child in token.children or []}
    assert used <= {"text", "text_special", "strong_open", "strong_close", "em_open", "em_close", "html_inline"}
    raw = {child.content for token in inline for child in token.children or [] if child.type == "html_inline"}
    assert raw <= {"<sup>", "</sup>"}
    said = ["".join(c.content for c in token.children or [] if c.type.startswith("text")) for token in inline]
    assert visible(name).strip() in [words.strip() for words in said] or not name.strip()


@every_name
def test_csv_reads_back_and_runs_no_formula(name: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(table_of(name)), newline=""), strict=True))
    assert {len(row) for row in rows} == {8 + bool(name)}  # a column for the mark, where there is one
    assert len(rows) == 3
    assert rows[1][2:4] == ["38.7", "0.2"]
    label = rows[1][1]
    assert label.removeprefix("'") == visible(name).removeprefix("'")
    for field in [*rows[0], label, rows[1][0], *rows[1][4 : 5 + bool(name)]]:
        assert not field.lstrip().startswith(("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠"))


@every_name
def test_terminal_sends_no_control_sequence_of_the_name(name: str) -> None:
    plain = to_terminal(table_of(name), width=70, colour=False)
    assert re.fullmatch("[\n\x20-\x7e]*", plain)
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", to_terminal(table_of(name), width=70, colour=True))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", coloured)
    if name.isascii() and name.isalnum():
        assert name in plain


OURS = set(
    re.findall(
        r"\w+",
        """begin end centering caption resizebox ifdim width linewidth else fi toprule midrule bottomrule addlinespace
        multicolumn cmidrule textit textbf textsuperscript par smallskip footnotesize pm cdot uparrow downarrow rho
        textbackslash textasciicircum textasciitilde textless textgreater textbar textquotedbl textquotesingle
        textasciigrave textendash textdagger textdaggerdbl texttimes medskip""",
    )
)
COMMANDS = re.compile(r"\\([A-Za-z]+|.)")


@every_name
def test_latex_has_only_our_own_commands(name: str) -> None:
    out = to_latex(table_of(name), document=False)
    assert set(COMMANDS.findall(out)) <= OURS | set("\\{}$&#_%")
    bare = re.sub(r"\\[^A-Za-z]", "", out)
    assert bare.count("{") == bare.count("}")
    assert out.isascii() or set(out) - set(map(chr, range(128))) <= set(map(chr, range(0xC0, 0x100)))
    inside = bare.split("\\toprule")[1].split("\\bottomrule")[0]
    assert "%" not in inside
    assert "#" not in inside
    assert set(re.findall(r"\$[^$]*\$", inside)) <= {
        "$\\pm$",
        "$\\cdot$",
        "$\\uparrow$",
        "$\\downarrow$",
        "$\\rho$",
        "$-$",
    }
    body = [line for line in inside.splitlines() if line.startswith(("\\textit", "x &")) or "38.7" in line]
    assert {line.count("&") for line in body} == {3}


def test_latex_with_every_hostile_name_compiles(pdflatex) -> None:  # type: ignore[no-untyped-def]
    columns = tuple(Column(f"k{i}", name, name, name) for i, name in enumerate(NAMES[:6]))
    rows = tuple(Row(name, tuple(Value(text=name, mark=name) for _ in columns), section=name) for name in NAMES)
    assert pdflatex(to_latex(Table("t", "".join(NAMES), columns, rows, tuple(NAMES)))) >= 1
