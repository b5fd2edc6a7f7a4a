"""`kerasseg doctor`."""

import click

from . import options, startup


@click.command("doctor")
def command() -> None:
    """Show versions, devices and what is missing; the exit code is 1 if kerasseg cannot work."""
    startup.load_tensorflow()
    from .. import doctor

    findings = doctor.run()
    options.print_table(
        ("what", "found", "remedy"), [(f.what, f.found, f.remedy) for f in findings]
    )
    if any(finding.fatal for finding in findings):
        raise click.exceptions.Exit(1)
    options.console().print("kerasseg can work here.")
