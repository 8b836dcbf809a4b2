"""The example for Prometheus is valid, and each alert fires on its own fault only."""

from __future__ import annotations

import re

import yaml

from promtool import PROMETHEUS, ROOT, promtool

ALERTS = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
TESTS = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]


def expected_in(test: dict) -> set[str]:
    """The alerts that a test expects to have fired, at any time."""
    samples = test["promql_expr_test"][0].get("exp_samples", [])
    return {re.search('alertname="(.+?)"', sample["labels"])[1] for sample in samples}


def test_the_example_is_a_valid_configuration():
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rules_are_valid():
    promtool("check", "rules", PROMETHEUS / "alerts.yml")


def test_each_alert_fires_on_its_fault_and_on_no_other():
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_every_alert_has_a_fault_on_which_it_alone_fires():
    alone = {name for test in TESTS if len(expected_in(test)) == 1 for name in expected_in(test)}
    assert alone == {rule["alert"] for rule in ALERTS}


def test_every_test_looks_at_all_that_has_fired():
    for test in TESTS:
        check = test["promql_expr_test"][0]
        assert check["expr"] == 'group by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d]))', test["name"]


def test_every_alert_says_what_to_do():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]


def test_alerts_ask_only_for_alerts_before_them():
    known = []
    for rule in ALERTS:
        for pattern in re.findall(r'alertname=~?"(.+?)"', rule["expr"]):
            assert [name for name in known if re.fullmatch(pattern, name)], (rule["alert"], pattern)
        known.append(rule["alert"])


def test_settings_and_commands_that_alerts_name_exist():
    # The pages name only what exists (Tests/Pages).
    known = "".join(file.read_text() for file in [ROOT / "etc/evt.env.example", *(ROOT / "etc/docs").glob("*.md")])
    for rule in ALERTS:
        for name in re.findall(r"EVT_[A-Z_]*[A-Z]|(?<=`)evt [a-z]+(?: [a-z]+)?", rule["annotations"]["description"]):
            assert name in known, rule["alert"]
