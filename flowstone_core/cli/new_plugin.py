"""``flowstone new-plugin``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-plugin", short_help="Create a plugin project with a sensor and its tests.")
@click.argument("name")
@click.option(
    "--type",
    "sensor_type",
    metavar="TYPE",
    help="Type of its sensor in the configuration; NAME_files by default.",
)
@click.option(
    "--into",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Parent folder of the project; the current folder by default.",
)
def new_plugin(name: str, sensor_type: str | None, folder: Path) -> None:
    """Create a plugin project: a distribution with a sensor, its settings, a README, tests and CI.

    For the NAME 'acme' the distribution is flowstone-acme. The project can be installed at once,
    and its tests pass.
    """
    from flowstone_core.cli.scaffold import name_plugin, write_plugin

    plugin = name_plugin(name, sensor_type)
    written = write_plugin(plugin, folder)
    target = folder / plugin.distribution
    click.echo(f"created {target}:")
    for path in written:
        click.echo(f"    {path.relative_to(target)}")
    click.echo("next:")
    click.echo(f"    pip install -e '{target}[test]'")
    click.echo(f"    pytest {target}")
    click.echo(f"    flowstone plugins show {plugin.type}")
