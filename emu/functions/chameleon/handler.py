"""Renders a table of rows x cols cells with the template engine Chameleon."""

import hashlib

from chameleon import PageTemplate

TABLE = """\
<table xmlns="http://www.w3.org/1999/xhtml" xmlns:tal="http://xml.zope.org/namespaces/tal">
  <tr tal:repeat="row python: table">
    <td tal:repeat="cell python: row.values()">
      <span tal:define="value python: cell + 1" tal:attributes="class python: 'column-' + str(value)"
            tal:content="python: value" />
    </td>
  </tr>
</table>"""


def handle(given):
    # Compiled anew for every request, as in the published function.
    template = PageTemplate(TABLE)
    row = {str(column): column for column in range(given["cols"])}
    return template.render(table=[row] * given["rows"])


def describe(html):
    """The counts and the text of the cells do not depend on how a version of the library writes white space."""
    cells = "".join(html.split())
    return {
        "rows": html.count("<tr"),
        "cells": html.count("<td"),
        "bytes": len(html.encode()),
        "sha256_without_spaces": hashlib.sha256(cells.encode()).hexdigest(),
    }
