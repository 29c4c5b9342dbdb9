"""Holds an AsyncAPI document against the specification's own JSON schema, which npm brings as @asyncapi/specs.

    contract.py <schema.json> <document.json>
"""

import json
import sys

from jsonschema import Draft7Validator

schema, document = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:3])
# Everything in the schema is named by its own id and found within the file: nothing is fetched.
mistakes = list(Draft7Validator(schema).iter_errors(document))
for mistake in mistakes[:20]:
    print("/".join(map(str, mistake.absolute_path)) or "(the document)", mistake.message[:300], sep=": ")
sys.exit(1 if mistakes else 0)
