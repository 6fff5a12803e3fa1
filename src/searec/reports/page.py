"""HTML pages that need nothing else: one base template, one style sheet, and how figures are printed."""

import math
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from searec.metrics import parse_metrics
from searec.reports.plots import COLOURS

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
TASK_NAMES = {"recommend": "Recommendation", "search": "Search"}
PROTOCOL_NAMES = {"sampled": "sampled candidates", "full": "whole catalogue"}


def render_page(template: str, *, title: str, created: datetime | None, **values: Any) -> str:
    """Return a page as HTML text; the same input gives the same text.

    Args:
        template: name of a template of this package that extends base.html.j2.
        title: of the page.
        created: the time it shows; now if None.
        values: what the template shows.
    """
    loader = jinja2.FunctionLoader(lambda name: resources.files(__package__).joinpath(name).read_text("utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        figure=figure,
        signed=signed,
        p=p_value,
        whole=lambda number: f"{number:,}",
        metric=lambda name: parse_metrics(name)[0].heading,
    )
    style = Markup(resources.files(__package__).joinpath("style.css").read_text("utf-8"))
    defaults = {"alpha": 0.05, "level": "95 %", "colours": COLOURS}
    page = environment.get_template(template)
    return page.render(**defaults | values, style=style, title=title, created=created or datetime.now(UTC))


def figure(value: float) -> str:
    """Return a metric's value with four decimals (two from 10 on); a dash where there is none."""
    return NONE if math.isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def signed(value: float) -> str:
    """Return the same with a sign, and a true minus.

    >>> signed(0.01), signed(-0.01) == MINUS + "0.0100"
    ('+0.0100', True)
    """
    return NONE if math.isnan(value) else ("+" if value >= 0 else MINUS) + figure(abs(value))


def p_value(value: float) -> str:
    """Return a p value as papers print it.

    >>> p_value(0.0123), p_value(0.00002)
    ('0.012', '<0.001')
    """
    return NONE if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
