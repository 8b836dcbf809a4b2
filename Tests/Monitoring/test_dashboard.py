"""The dashboard for Grafana asks in expressions that Prometheus understands."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from promtool import ROOT, promtool

DASHBOARD = json.loads((ROOT / "etc/grafana/eventstream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Grafana puts in.
VALUES = {"$__rate_interval": "1m", "$consumer": "local:BILLING"}


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_expression_is_understood(tmp_path):
    rules = []
    for expression in expressions():
        for variable, value in VALUES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"panel:{len(rules)}", "expr": expression})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_a_unit_and_says_what_it_shows(panel):
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_nothing_belongs_to_one_installation():
    assert "id" not in DASHBOARD and "uid" not in DASHBOARD
    sources = re.findall(r'"uid": "(.*?)"', json.dumps(DASHBOARD))
    assert set(sources) == {"${datasource}"}


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
