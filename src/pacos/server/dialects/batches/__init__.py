"""The dialect of OpenAI's files and batches."""

from __future__ import annotations

from pacos.server.dialects import Dialect, Operation
from pacos.server.dialects.batches import files, jobs, service
from pacos.server.dialects.batches.shapes import Batch, BatchRequest, Deleted, File, Page
from pacos.server.dialects.openai import shapes

_FILE, _BATCH = "/v1/files/{file}", "/v1/batches/{batch}"

DIALECT = Dialect(
    "batches",
    (
        Operation("POST", "/v1/files", files.upload, "Keep a file, sent as a form with file and purpose.", reply=File),
        Operation("GET", "/v1/files", files.list_files, "List files.", reply=Page, light=True),
        Operation("GET", _FILE, files.show, "Describe a file.", reply=File, light=True),
        Operation("GET", f"{_FILE}/content", files.content, "Give a file's content."),
        Operation("DELETE", _FILE, files.delete, "Delete a file.", reply=Deleted, light=True),
        Operation("POST", "/v1/batches", jobs.create, "Begin a batch.", body=BatchRequest, reply=Batch),
        Operation("GET", "/v1/batches", jobs.list_batches, "List batches.", reply=Page, light=True),
        Operation("GET", _BATCH, jobs.show, "Tell how far a batch is.", reply=Batch, light=True),
        Operation("POST", f"{_BATCH}/cancel", jobs.cancel, "Cancel a batch.", reply=Batch, light=True),
    ),
    shapes.render,
    {},
    prefixes=("/v1/files", "/v1/batches"),
    background=service.background,
)
