"""Grafana's dashboards as code. `python -m compose.dashboards` writes compose/grafana/dashboards."""
