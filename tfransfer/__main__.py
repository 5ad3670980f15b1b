"""The `tfransfer` command, also as `python -m tfransfer`."""

from tfransfer.cli.main import main

if __name__ == "__main__":
    main()
