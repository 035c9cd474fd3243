"""`python -m pacos` is `pacos`."""

from pacos.cli.main import main

main()
