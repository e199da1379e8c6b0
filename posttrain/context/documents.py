"""Long documents to train on: made from a seed, kept in the cache, so that the plan and the run share the work."""

import hashlib
import json
from pathlib import Path
from typing import Any

import posttrain.haystack
from posttrain.data.cache import cache_folder, key_of_tokenizer
from posttrain.errors import UserError
from posttrain.haystack import make_documents, text_files
from posttrain.recipe import DocumentsSection
from posttrain.run_folder.manifest import sha256_of
from posttrain.runs import append_json_lines, written_aside


def documents_file(tokenizer: Any, section: DocumentsSection, *, length: int, num_tokens: float, seed: int) -> Path:
    """A file of rows of at most `length` tokens, at least `num_tokens` in all.

    Raises:
        UserError: there is no such task, the text cannot be read, or the shortest document has no room for a question.
    """
    follows_from = [
        {"section": repr(section), "length": length, "num_tokens": num_tokens, "seed": seed},
        [sha256_of(file) for file in text_files(section.text)] if section.text else None,
        key_of_tokenizer(tokenizer),
        sha256_of(Path(posttrain.haystack.__path__[0])),
    ]
    key = hashlib.sha256(json.dumps(follows_from).encode()).hexdigest()
    path = cache_folder() / "documents" / f"{key}.jsonl"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        rows = make_documents(
            tokenizer,
            tasks=section.tasks,
            lengths=(max(1, round(section.shortest * length)), length),
            languages=section.languages,
            num_tokens=round(num_tokens),
            seed=seed,
            text=section.text,
            num_needles=section.num_needles,
            questions=section.questions,
        )
        with written_aside(path) as aside:
            for row in rows:
                append_json_lines(aside, [row])
    except ValueError as error:
        raise UserError(f"documents: {error}") from error
    except UserError as error:
        raise UserError(f"documents: {error}; raise documents.shortest, or leave out what is too long") from error
    return path
