"""Long-context tasks: values hidden in long texts, to ask for in evaluations and to train on."""

from posttrain.haystack.documents import make_documents
from posttrain.haystack.grader import values_found
from posttrain.haystack.languages import LANGUAGES
from posttrain.haystack.rows import make_rows
from posttrain.haystack.tasks import TASKS
from posttrain.haystack.text_files import text_files

__all__ = ["LANGUAGES", "TASKS", "make_documents", "make_rows", "text_files", "values_found"]
