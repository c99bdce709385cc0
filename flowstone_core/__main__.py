"""``python -m flowstone_core`` is the ``flowstone`` command."""

from flowstone_core.cli import main

if __name__ == "__main__":
    main(prog_name="flowstone")
