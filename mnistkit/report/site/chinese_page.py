"""The first page in Chinese: findings, chapters, and the verdicts on all claims."""

import html
from dataclasses import replace

from mnistkit.report.site.first_page import (
    REVISITED,
    cards,
    introduction,
    list_of_findings,
    read_findings,
    to_print,
    verdicts,
)
from mnistkit.report.site.markdown import to_html
from mnistkit.report.site.pages import (
    FIRST,
    TITLE,
    Course,
    contents,
    fill_page,
    with_anchors,
)
from mnistkit.report.site.tables import Cell, Table, table_html
from mnistkit.report.translation import translate, verdict_table

LANGUAGE = "zh-CN"


def chinese_page(scale: str, course: Course) -> str:
    """Return the first page of a scale's site in Chinese. OSError if pandoc fails.

    What has no translation stays English. The chapters that it leads to are English.
    """
    course = in_chinese(course)
    findings, closing = read_findings(course.out)
    *told, end = to_html([course.say(text) for text in (*findings, closing)])
    sections = [
        introduction(course),
        "<p>各章网页和图中文字为英文。</p>",
        to_print(course),
        '<h2 id="findings">主要发现</h2>',
        list_of_findings(told, end),
        verdicts(scale, course),
        f'<h2 id="chapters">各章</h2>\n{cards(scale, course)}',
        verdict_tables(course),
        '<h2 id="provenance">数据与记录的出处</h2>',
        '<p>数据、训练记录、机器、版本和种子列在<a href="index.html#provenance" '
        'hreflang="en">英文首页</a>上。</p>',
    ]
    main, found = with_anchors("\n".join(sections), course.say("Link to here"))
    return fill_page(
        title=course.say(TITLE),
        kind="overview",
        contents=contents(FIRST[LANGUAGE][0], found, course),
        main=main,
        course=course,
    )


def in_chinese(course: Course) -> Course:
    """Return the course with the titles and questions of its chapters in Chinese."""
    openings = {
        name: {
            key: (translate(text) or text) if isinstance(text, str) else text
            for key, text in opening.items()
        }
        for name, opening in course.openings.items()
    }
    return replace(course, openings=openings, language=LANGUAGE)


def verdict_tables(course: Course) -> str:
    """Return a table of the claims of each report, each linked to its English row."""
    parts = []
    for number in range(1, 6):
        path = course.out / f"{REVISITED}_r{number}.csv"
        if not path.exists():
            continue
        frame, unknown = verdict_table(path)
        heads = [Cell("th", inner=course.say(column)) for column in frame.columns]
        rows = []
        for claim, *texts in frame.to_numpy().tolist():
            name = claim
            if REVISITED in course.present:
                address = f"{REVISITED}.html#{claim}"
                name = f'<a href="{address}"{course.to_english}>{claim}</a>'
            cells = [html.escape(text, quote=False) for text in texts]
            rows.append([Cell("td", inner=inner) for inner in (name, *cells)])
        parts.append(f'<h3 id="r{number}">R{number} 的 {len(frame)} 个论断</h3>')
        if unknown:
            parts.append(f"<p>{unknown} 个单元格没有译文，保留英文。</p>")
        table = table_html(Table([heads], rows))
        parts.append(f'<figure class="table">{table}</figure>')
    if not parts:
        return ""
    said = "编号通向英文表格中的同一论断，那里写有理由和限制。"
    return "\n".join([f'<h2 id="claims">论断与结果</h2>\n<p>{said}</p>', *parts])
