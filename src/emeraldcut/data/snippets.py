"""Pieces of HTML for notebooks, from templates that escape all that they are given."""

from __future__ import annotations

from functools import cache
from typing import Any

from emeraldcut.data.thumbnails import SIDE_PIX

GALLERY = """<div><p>{{ title }}</p>
{%- for picture, caption in pictures -%}
<figure style="display:inline-block;margin:4px;width:{{ side }}px;vertical-align:top">
{%- if picture %}<img src="{{ picture }}" width="{{ side }}" height="{{ side }}" alt="">{% else %}no data{% endif -%}
<figcaption style="font-size:smaller;overflow-wrap:anywhere">{{ caption }}</figcaption></figure>
{%- endfor -%}
{% if more %}<p>and {{ "{:,}".format(more) }} more</p>{% endif %}</div>"""
TABLE = """<div><table><thead><tr><th></th>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{%- for picture, cells in rows -%}
<tr><td>{% if picture %}<img src="{{ picture }}" width="56" alt="">{% endif %}</td>
{%- for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}</tbody></table><p>{{ summary }}</p></div>"""
RUN = """<p>{{ words }} in {{ folder }}
{%- for page in pages %}{{ "," if not loop.first }} <a href="{{ page.as_posix() }}">{{ page.name }}</a>
{%- endfor %}</p>"""


@cache
def _template(text: str) -> Any:
    from jinja2 import Environment, StrictUndefined  # takes time to import

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def snippet(text: str, **values: Any) -> str:
    """One of the templates of this module with its values.

    Examples
    --------
    >>> snippet(RUN, words="measure: finished", folder="a<b", pages=[])
    '<p>measure: finished in a&lt;b</p>'
    """
    rendered: str = _template(text).render(side=SIDE_PIX, **values)
    return rendered
