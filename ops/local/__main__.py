"""Run python -m ops.local."""

from ops.local.stack import main

main()
