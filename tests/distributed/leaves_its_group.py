"""`posttrain` with the words behind it, which must have left its process group when it is done."""

import sys

from torch import distributed

from posttrain.cli import main

code = main()
if distributed.is_initialized():
    sys.exit("the process group is still there, and its threads with it")
sys.exit(code)
