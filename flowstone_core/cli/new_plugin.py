"""``flowstone new-plugin``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-plugin", short_help="Write a new plugin, with a sensor and its tests.")
@click.argument("name")
@click.option(
    "--type",
    "sensor_type",
    metavar="TYPE",
    help="What its sensor is called in configuration; NAME_files by default.",
)
@click.option(
    "--into",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where its folder is made; here by default.",
)
def new_plugin(name: str, sensor_type: str | None, folder: Path) -> None:
    """Write a new plugin: a distribution with a sensor, its settings, a README, tests and CI.

    NAME is such as 'acme'; the distribution is then flowstone-acme. What is written can be
    installed, and its tests pass: change it from there.
    """
    from flowstone_core.cli.scaffold import name_plugin, write_plugin

    plugin = name_plugin(name, sensor_type)
    written = write_plugin(plugin, folder)
    target = folder / plugin.distribution
    click.echo(f"{target} was written:")
    for path in written:
        click.echo(f"    {path.relative_to(target)}")
    click.echo("next:")
    click.echo(f"    pip install -e '{target}[test]'")
    click.echo(f"    pytest {target}")
    click.echo(f"    flowstone plugins show {plugin.type}")
