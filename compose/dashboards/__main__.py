"""`python -m compose.dashboards`: writes the files."""

from compose.dashboards.grafana import DASHBOARDS, FOLDER, as_json


def main() -> None:
    """Every dashboard."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(as_json(name), encoding="utf-8")


if __name__ == "__main__":
    main()
